"""doctor: what it finds well, and what is broken on purpose."""

import importlib.metadata

import pytest

from pipelines import doctor, environment
from pipelines.repository import storage


def found(ask, **where):
    answer = ask("doctor", "--json", **where)
    return answer.code, {check["name"]: check for check in answer.record}


@pytest.fixture(autouse=True)
def no_mirror(monkeypatch):
    monkeypatch.delenv("HEADWATER_DATA_MIRROR", raising=False)


def test_a_finished_workspace_is_well(ask):
    code, checks = found(ask)
    assert code == 0
    failed = [check for check in checks.values() if check["state"] == "failed"]
    assert not failed
    assert {"python", "packages", "params.yaml", "data", "mirror", "cache", "remote", "git", "gpu",
            "prefect server", "disk", "memory"} == set(checks)  # fmt: skip
    assert checks["params.yaml"]["found"] == "1 settings, 3 stores, 4 methods"
    shown = ask("doctor")
    assert shown.code == 0
    assert "ok       data: the samples of mnist-lr" in shown.out


def test_wrong_params_and_missing_data_are_exit_code_1(ask, changed):
    changed.edit("methods", "grad-dot", "store", value="mars")
    (changed.folder / "data/mnist10.npz").unlink()
    code, checks = found(ask, folder=changed.folder)
    assert code == 1
    assert "methods.grad-dot.store" in checks["params.yaml"]["found"]
    assert (checks["data"]["state"], checks["data"]["found"]) == ("failed", "no data/mnist10.npz")
    assert checks["data"]["advice"]
    shown = ask("doctor", folder=changed.folder)
    assert shown.code == 1 and "-> restore it" in shown.out


def test_the_mirror(ask, monkeypatch, tmp_path):
    (tmp_path / "cifar10").mkdir()
    monkeypatch.setenv("HEADWATER_DATA_MIRROR", str(tmp_path))
    assert found(ask)[1]["mirror"]["found"].endswith(": cifar10")
    monkeypatch.setenv("HEADWATER_DATA_MIRROR", str(tmp_path / "none"))
    code, checks = found(ask)
    assert (code, checks["mirror"]["state"]) == (1, "failed")


def test_the_remote(ask, changed, tmp_path):
    remote = tmp_path / "remote"
    changed.run("dvc", "remote", "add", "-d", "shared", str(remote))
    code, checks = found(ask, folder=changed.folder)
    assert (code, checks["remote"]["state"]) == (1, "failed")
    remote.mkdir()
    code, checks = found(ask, folder=changed.folder)
    assert (code, checks["remote"]["state"]) == (0, "ok")
    assert checks["remote"]["found"].startswith("shared: ")
    changed.run("dvc", "remote", "modify", "shared", "url", "webdavs://example.org/x")
    checks = found(ask, folder=changed.folder)[1]
    assert "webdavs://example.org/x, not contacted" in checks["remote"]["found"]


def test_the_cache_is_that_of_the_repository(made, monkeypatch):
    monkeypatch.chdir(made.folder)
    kept = storage()
    assert kept.cache == made.folder / ".dvc/cache/files/md5"
    assert kept.links == ("hardlink", "symlink") and not kept.remote


def test_a_package_that_is_missing_or_old(ask, monkeypatch):
    real = importlib.metadata.version

    def version(name):
        if name == "zarr":
            raise importlib.metadata.PackageNotFoundError(name)
        return "1.0" if name == "dvc" else real(name)

    monkeypatch.setattr(doctor.importlib.metadata, "version", version)
    code, checks = found(ask)
    assert code == 1
    assert "zarr none (needs >=3.1)" in checks["packages"]["found"]
    assert "dvc 1.0 (needs" in checks["packages"]["found"]


def test_a_gpu_that_torch_cannot_use_is_a_warning(ask, monkeypatch):
    monkeypatch.setattr(environment, "gpus", lambda: ["0"])
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    code, checks = found(ask)
    assert (code, checks["gpu"]["state"]) == (0, "warning")


def test_too_little_disk_for_the_budget_is_a_warning(ask, changed):
    budget = {"memory": "1MB", "disk": "1000000GB", "minutes": 1, "gflops": 1}
    changed.edit("budget", value=budget)
    checks = found(ask, folder=changed.folder)[1]
    assert checks["disk"]["state"] == "warning" and "budget.disk" in checks["disk"]["advice"]
    assert checks["memory"]["state"] == "ok"
