"""The include rule of lb/: the tree keeps it, and the checker notices every way of breaking it."""
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHECKER = ROOT / "tools" / "check_includes.py"

LAYERS = """
layer     main
layer     proxy
layer     net health
layer     http config
layer     base
sideways  health net
pure      http
outside   harness/traffic base
"""
DEPS = {"main": "proxy base", "proxy": "net http config base", "net": "config base", "health": "net base",
        "http": "base", "config": "base", "base": ""}


def check(root):
    command = [sys.executable, CHECKER, "--root", root]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def tree(tmp_path):
    """A small tree with the layers above, in which every module includes what it may."""
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "layers.txt").write_text(LAYERS)
    for module, deps in DEPS.items():
        folder = tmp_path / "lb" / module
        folder.mkdir(parents=True)
        (folder / "CMakeLists.txt").write_text(f"# A module.\nlb_module({module} DEPS {deps})\n")
        includes = "".join(f'#include "lb/{dep}/x.hpp"\n' for dep in [module, *deps.split()])
        (folder / "x.cpp").write_text(includes)
    (tmp_path / "harness" / "traffic").mkdir(parents=True)
    (tmp_path / "harness" / "traffic" / "x.cpp").write_text('#include "lb/base/x.hpp"\n')
    return tmp_path


def append(path, line):
    path.write_text(path.read_text() + line + "\n")


def test_this_tree_keeps_the_rule():
    status, output = check(ROOT)
    assert status == 0, output


def test_clean_tree_passes(tree):
    assert check(tree) == (0, "")


@pytest.mark.parametrize("file, line, complaint", [
    ("lb/net/x.cpp", '#include "lb/proxy/proxy.hpp"', "module net may not include lb/proxy/proxy.hpp"),
    ("lb/net/x.cpp", '  #  include "lb/proxy/proxy.hpp"', "module net may not include lb/proxy/proxy.hpp"),
    ("lb/net/x.cpp", "#include <lb/proxy/proxy.hpp>", "module net may not include lb/proxy/proxy.hpp"),
    ("lb/net/x.cpp", '#include "lb/http/parser.hpp"', "module net may not include lb/http/parser.hpp"),
    ("lb/base/x.cpp", '#include "lb/main/x.hpp"', "module base may not include lb/main/x.hpp"),
    ("lb/http/x.cpp", "#include <sys/socket.h>", "module http makes no system calls"),
    ("lb/http/x.cpp", "#include <unistd.h>", "module http makes no system calls"),
    ("lb/http/x.cpp", '#include "x.hpp"', "write the path from the repository's root"),
    ("harness/traffic/x.cpp", '#include "lb/http/parser.hpp"', "harness/traffic may not include lb/http/"),
])
def test_forbidden_include_fails(tree, file, line, complaint):
    append(tree / file, line)
    status, output = check(tree)
    assert status == 1
    assert output.startswith(f"{file}:") and complaint in output


@pytest.mark.parametrize("module, deps, complaint", [
    ("net", "proxy base", "net -> proxy points up"),
    ("base", "main", "base -> main points up"),
    ("net", "health base", "net -> health points sideways"),
    ("http", "config base", "http -> config points sideways"),
    ("http", "unheard_of base", "DEPS names unheard_of, which is in no layer"),
])
def test_forbidden_dependency_fails(tree, module, deps, complaint):
    (tree / "lb" / module / "x.cpp").write_text("")
    listing = f"lb_module({module}\n  DEPS {deps}\n  LIBS fmt::fmt)\n"
    (tree / "lb" / module / "CMakeLists.txt").write_text(listing)
    status, output = check(tree)
    assert status == 1
    assert f"lb/{module}/CMakeLists.txt:1: {complaint}" in output


def test_module_in_no_layer_fails(tree):
    (tree / "lb" / "extra").mkdir()
    (tree / "lb" / "extra" / "CMakeLists.txt").write_text("lb_module(extra DEPS base)\n")
    status, output = check(tree)
    assert status == 1 and "module extra is in no layer" in output


def test_only_tests_use_what_is_named_for_tests(tree):
    (tree / "lb" / "net" / "CMakeLists.txt").write_text("lb_module(net DEPS config base TEST_LIBS lb_http)\n")
    (tree / "lb" / "net" / "x_test.cpp").write_text('#include "lb/http/parser.hpp"\n')
    assert check(tree) == (0, "")
    append(tree / "lb" / "net" / "x.cpp", '#include "lb/http/parser.hpp"')
    status, output = check(tree)
    assert status == 1 and output.startswith("lb/net/x.cpp:")


def test_broken_table_is_an_error_of_its_own(tree):
    append(tree / "tools" / "layers.txt", "layre oops")
    status, output = check(tree)
    assert status == 2 and "layers.txt" in output
