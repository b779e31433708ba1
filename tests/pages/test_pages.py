"""One file holds a page: its data come back, and nothing of them can run."""

import base64
import json
import re
import zlib

import numpy as np
import pytest

from headwater.pages import Files, assemble


def test_files_come_back():
    files = Files()
    array = np.arange(6, dtype=np.int16).reshape(2, 3)
    reference = files.add_array("a", array)
    files.add_record("r", {"text": "</script><script>"})
    assert reference == {"array": "a", "type": "int16", "shape": [2, 3]}
    assert zlib.decompress(files.content["a"]) == array.tobytes()
    assert json.loads(zlib.decompress(files.content["r"])) == {"text": "</script><script>"}
    with pytest.raises(ValueError, match="one file 'a', got two"):
        files.add_array("a", array)
    with pytest.raises(ValueError, match="b must be one of"):
        files.add_array("b", array.astype(np.int64))


def test_a_page_names_all_that_may_run(tmp_path):
    (tmp_path / "main.js").write_text('import { el } from "headwater/dom";\n')
    (tmp_path / "own.css").write_text("p { color: red }")
    files = Files()
    files.add_record("r", "</script><script>alert(1)</script>")
    page = assemble("<script>a title</script>", [tmp_path], files)
    assert page.count("<script") == 3  # the data, the map of modules, the start
    assert "http://" not in page and "https://" not in page
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', page)
    assert "default-src 'none'" in policy and "unsafe" not in policy
    (modules,) = re.findall(r'<script type="importmap">(.*?)</script>', page)
    source = json.loads(modules)["imports"]["headwater/main"].partition("base64,")[2]
    assert b"headwater/dom" in base64.b64decode(source)


def test_a_page_needs_a_start_and_files_of_different_names(tmp_path):
    with pytest.raises(ValueError, match=r"a module main\.js, got none"):
        assemble("", [], Files())
    (tmp_path / "dom.js").write_text("")
    with pytest.raises(ValueError, match=r"one file dom\.js, got two"):
        assemble("", [tmp_path], Files())
