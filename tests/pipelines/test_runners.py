"""Stages elsewhere than in threads of the flow: agents, a Dask cluster, a deployment."""

import re
import shutil
import signal
import time

import pytest

from tests.pipelines import toy

pytestmark = pytest.mark.slow


CUDA = "setting: b\nsize: 3\ndevice: cuda\n"


@pytest.fixture
def settings(tmp_path):
    return toy.make_settings(tmp_path)


@pytest.fixture
def plain(tmp_path_factory):
    """What plain DVC records of the same."""
    folder = toy.make_settings(tmp_path_factory.mktemp("plain"))
    (folder / "settings/b/setting.yaml").write_text(CUDA)
    toy.dvc(folder, "repro")
    return toy.records(folder)


@pytest.fixture
def shared(settings, server, monkeypatch):
    """The environment of every process that takes part."""
    variables = {
        **server,
        "PREFECT_HOME": str(settings / ".prefect"),
        "HEADWATER_AGENT_SECONDS": "4",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    started = []

    def start(name, *command):
        started.append(toy.start_module(settings, name, *command))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def assert_the_stage_ends(settings):
    """What holds it touches a file all the time."""
    time.sleep(1)
    (settings / "held-a").unlink()
    time.sleep(1)
    assert not (settings / "held-a").exists()


def test_agents_do_the_stages_and_those_with_a_gpu_what_wants_one(settings, plain, shared):
    (settings / "settings/b/setting.yaml").write_text(CUDA)
    (settings / "hold-third").touch()
    cpu = shared("agent-cpu", "pipelines.agent")
    gpu = shared("agent-gpu", "pipelines.agent", "--gpu")
    toy.wait_until(lambda: len(list((settings / ".prefect/agents").glob("*.?pu"))) == 2)
    flow = shared("log", "pipelines.benchmark", "--on", "agents")
    toy.wait_until(lambda: list(settings.glob("held-*")))
    (settings / "hold-third").unlink()
    assert flow.wait(60) == 0, (settings / "log").read_text()
    assert f"{toy.COUNT} ran, 0 restored" in (settings / "log").read_text()
    assert toy.records(settings) == plain
    assert not re.search("settings/b.*solve", (settings / "agent-cpu").read_text())
    toy.assert_plain_dvc_agrees(settings)
    cpu.send_signal(signal.SIGTERM)
    gpu.send_signal(signal.SIGINT)
    assert (cpu.wait(10), gpu.wait(10)) == (0, 0)


def test_what_a_killed_agent_had_is_taken_up_by_another(settings, plain, shared):
    (settings / "settings/b/setting.yaml").write_text(CUDA)
    (settings / "hold-third").touch()
    agents = [shared(f"agent-{number}", "pipelines.agent", "--gpu") for number in range(2)]
    flow = shared("log", "pipelines.benchmark", "--on", "agents")
    held = [settings / "held-a", settings / "held-b"]
    toy.wait_until(lambda: all(path.exists() for path in held))
    agents[0].kill()
    time.sleep(1)
    for path in held:
        path.unlink()
    time.sleep(1)
    assert sum(path.exists() for path in held) == 1, "a stage ends with its agent"
    (settings / "hold-third").unlink()
    assert flow.wait(60) == 0, (settings / "log").read_text()
    assert f"{toy.COUNT} ran, 0 restored" in (settings / "log").read_text()
    assert toy.records(settings) == plain
    toy.assert_plain_dvc_agrees(settings)


def test_a_stage_that_insists_waits_for_an_agent_with_a_gpu(settings, plain, shared):
    (settings / "settings/b/setting.yaml").write_text(CUDA)
    shared("agent-cpu", "pipelines.agent")
    flow = shared("log", "pipelines.benchmark", "--on", "agents")
    toy.wait_until(lambda: "none has a GPU" in (settings / "log").read_text())
    assert flow.poll() is None
    shared("agent-gpu", "pipelines.agent", "--gpu")
    assert flow.wait(60) == 0, (settings / "log").read_text()
    assert f"{toy.COUNT} ran, 0 restored" in (settings / "log").read_text()
    assert toy.records(settings) == plain
    assert not re.search("settings/b.*solve", (settings / "agent-cpu").read_text())


def held_by_an_agent(settings, shared):
    """Start an agent and a flow, and wait until the agent is at work on a stage without end."""
    (settings / "hold-first").touch()
    agent = shared("agent", "pipelines.agent")
    flow = shared("log", "pipelines.benchmark", "--on", "agents", "settings/a/dvc.yaml:solve@first")
    toy.wait_until((settings / "held-a").exists)
    return agent, flow


def test_an_agent_that_is_stopped_takes_its_stage_along(settings, shared):
    agent, flow = held_by_an_agent(settings, shared)
    agent.send_signal(signal.SIGTERM)
    assert agent.wait(10) == 0
    assert_the_stage_ends(settings)
    toy.wait_until(lambda: "start one with" in (settings / "log").read_text(), 20)
    flow.send_signal(signal.SIGINT)
    assert flow.wait(20) == 130


def test_a_flow_that_is_stopped_takes_the_stages_of_its_agents_along(settings, shared):
    agent, flow = held_by_an_agent(settings, shared)
    flow.send_signal(signal.SIGINT)
    assert flow.wait(20) == 130
    time.sleep(1)  # that often an agent asks whether its stage is still wanted
    assert_the_stage_ends(settings)
    assert agent.poll() is None


def test_a_dask_cluster_leaves_the_same_bytes(settings, plain):
    (settings / "settings/b/setting.yaml").write_text(CUDA)
    code, output = toy.run(settings, "--on", "dask")
    assert code == 0, output
    assert f"{toy.COUNT} ran" in output
    assert toy.records(settings) == plain
    toy.wait_until(lambda: not toy.processes(settings), 10)


def test_a_worker_of_a_work_pool_runs_the_deployment(settings, plain, shared, monkeypatch):
    (settings / "settings/b/setting.yaml").write_text(CUDA)
    (settings / "pipelines").symlink_to(toy.ROOT / "pipelines")
    shutil.copy(toy.ROOT / "prefect.yaml", settings)
    monkeypatch.setenv("HEADWATER_ROOT", str(settings))
    monkeypatch.setenv("PREFECT_WORKER_QUERY_SECONDS", "1")
    for name, command in {
        "pool": ["work-pool", "create", "headwater", "--type", "process"],
        "deploy": ["--no-prompt", "deploy", "--all"],
    }.items():
        assert shared(name, "prefect", *command).wait(60) == 0, (settings / name).read_text()
    shared("worker", "prefect", "worker", "start", "--pool", "headwater")
    run = shared("run", "prefect", "deployment", "run", "headwater/benchmark", "--watch")
    assert run.wait(100) == 0, (settings / "run").read_text() + (settings / "worker").read_text()
    assert toy.records(settings) == plain
    toy.assert_plain_dvc_agrees(settings)


def test_an_agent_without_a_server_says_so(settings):
    assert toy.start_module(settings, "log", "pipelines.agent").wait(60) == 1
    text = (settings / "log").read_text()
    assert text.startswith("PREFECT_API_URL must name") and text.count("\n") == 1
