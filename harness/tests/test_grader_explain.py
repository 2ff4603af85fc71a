"""What compilers, sanitizers and signals say, in words."""

import signal

import pytest
from lbgrader import explain

ASAN = """==7==ERROR: AddressSanitizer: heap-use-after-free on address 0x602000000010 at pc 0x1 bp 0x2
READ of size 8 at 0x602000000010 thread T0
    #0 0x55d0 in std::vector<int, std::allocator<int> >::size() const /usr/include/c++/12/stl_vector.h:987
    #1 0x55d1 in lb::(anonymous namespace)::P::on(lb::S const&) /x/build/grade/s/src/3_r/rollback.cpp:40
    #2 0x55d2 in main /x/harness/labs/rollback_runner.cpp:12
"""


@pytest.mark.parametrize(
    "status, output, seen, usually",
    [
        (1, ASAN, "heap-use-after-free in lb::", "outlives"),
        (1, ASAN, "(rollback.cpp:40)", "outlives"),
        (1, "/x/diff.cpp:9:3: runtime error: signed integer overflow: 1 + 2\n", "(diff.cpp:9)", "arithmetic"),
        (-signal.SIGABRT, "terminate called after throwing an instance of 'std::bad_alloc'\n  what():  no\n",
         "std::bad_alloc: no", ""),
        (-signal.SIGABRT, "runner: diff.cpp:7: void f(): Assertion `a == b' failed.\n", "a == b", "contract"),
        (-signal.SIGSEGV, "", "the program crashed (SIGSEGV)", "pointer"),
        (-signal.SIGXCPU, "", "more processor time", "loop"),
        (-signal.SIGXFSZ, "", "more into its log", "log line"),
        (-signal.SIGKILL, "", "the program was ended (SIGKILL)", "outside"),
        (0, "10.3 rollback ok ok ok\n", "left early, with exit status 0", "proves nothing"),
        (3, "", "left early, with exit status 3", "exit()"),
    ],
)
def test_how_a_program_ended(status, output, seen, usually):
    got_seen, got_usually, _log = explain.ended(status, output)
    assert seen in got_seen and usually in got_usually


def test_a_report_is_shown_from_its_top_without_templates():
    log = explain.interesting("noise\n" * 30 + ASAN)
    assert log.startswith("==7==ERROR") and "#0 std::vector stl_vector.h:987" in log
    assert "allocator" not in log


@pytest.mark.parametrize(
    "output, sentence, usually",
    [
        ("FAILED: x\n/s/watch.cpp:3:1: error: expected ';' before 'int'\n", "watch.cpp:3: expected ';'",
         "line before"),
        ("a.cpp:1:10: fatal error: mine.hpp: No such file or directory\n", "a.cpp:1: mine.hpp",
         "only this one file"),
        ("a.cpp:7:2: error: 'foo' was not declared in this scope\n", "a.cpp:7: 'foo' was not", "misspelt"),
        ("ld: a.o: in function `main':\nx.cpp:(.text+0x1): undefined reference to `lb::f()'\n",
         "undefined reference to lb::f()", "signature"),
        ("ld: multiple definition of `lb::f()'; b.o: first defined here\n", "multiple definition of lb::f()",
         "unnamed"),
        ("ninja: fatal: something\n", "the compiler failed", ""),
    ],
)
def test_why_it_does_not_compile(output, sentence, usually):
    got_sentence, got_usually, lines = explain.compile_error(output, "watch.cpp")
    assert sentence in got_sentence and usually in got_usually and lines


def test_warnings_have_their_places():
    output = ("[1/2] c++\n/x/2_diff/diff.cpp: In function 'int f()':\n"
              "2_diff/diff.cpp:42:7: warning: unused parameter 'before' [-Wunused-parameter]\n   42 | int\n"
              "2_diff/diff.cpp:50: warning: odd\n")
    assert explain.compile_warnings(output) == ["diff.cpp:42: unused parameter 'before'", "diff.cpp:50: odd"]
