"""What compilers, linkers, sanitizers and signals say, put into the words of whoever wrote the code: what
happened, where, and what usually causes it. Pure text; never a verdict."""
import re
import signal

LOG_LINES_MAX = 14

_SANITIZER = re.compile(r"ERROR: AddressSanitizer: (?:attempting )?([a-z][\w-]*)")
_UNDEFINED = re.compile(r"^(\S+?):(\d+):\d+: runtime error: (.*)$", re.M)
_FRAME = re.compile(r"^\s*#\d+ 0x[0-9a-f]+ in (.+?) (/\S+?):(\d+)", re.M)
_ASSERTION = re.compile(r"^(?:.*: )?(\S+?):(\d+): .*?[Aa]ssertion[ `']+(.*?)'? failed|^.*LB_ASSERT.*$", re.M)

_SANITIZER_CAUSES = {
    "heap-use-after-free": "a reference, pointer, iterator or string_view outlives what it refers to",
    "stack-use-after-return": "a reference or string_view to a local variable leaves its function",
    "stack-use-after-scope": "a reference or string_view to a temporary that is gone at the end of its line",
    "heap-buffer-overflow": "an index or iterator runs past the end of a vector or string",
    "stack-buffer-overflow": "an index runs past the end of a local array",
    "global-buffer-overflow": "an index runs past the end of a table",
    "container-overflow": "an iterator or reference is used after the vector has changed",
    "stack-overflow": "a recursion without an end",
    "double-free": "two owners free the same memory",
    "SEGV": "a null pointer, or an empty optional, is used",
    "out-of-memory": "a size is computed wrongly, or a loop adds without end",
    "allocation-size-too-big": "a size is computed wrongly: a negative number became a huge one",
}
_SIGNAL_CAUSES = {
    signal.SIGSEGV: "a null or dangling pointer is used, or a recursion has no end",
    signal.SIGABRT: "an assertion failed, an exception was thrown that nobody catches, or std::terminate was "
                    "called",
    signal.SIGFPE: "a division by zero",
    signal.SIGKILL: "it was ended from outside: too much memory, too many processes, or a signal of its own",
    signal.SIGXCPU: "a loop does not end",
    signal.SIGXFSZ: "it writes and writes: a log line in a loop that does not end",
    signal.SIGTERM: "it ended itself",
    signal.SIGPIPE: "it wrote into a closed pipe or socket",
}
_SIGNAL_WORDS = {
    signal.SIGXCPU: "it used more processor time than it may",
    signal.SIGXFSZ: "it wrote more into its log than it may (16 MiB)",
}
_COMPILE_CAUSES = (
    (r"fatal error: (\S+): No such file", "only this one file is taken; headers of your own go into it"),
    (r"has not been declared|was not declared in this scope",
     "a name is misspelt, or its header is not included"),
    (r"is not a member of ['‘]std", "its header is not included, or it is newer than GCC 12"),
    (r"expected ['‘][;,)}]", "something is missing at the end of the line before"),
    (r"does not name a type", "a header is not included, or the name needs its namespace (lb::)"),
    (r"marked ['‘]override['’], but does not override", "the function's signature differs from the header's"),
    (r"invalid new-expression of abstract class|cannot allocate an object of abstract",
     "a function of the interface is "
     "not defined, or its signature differs from the header's"),
    (r"redefinition of|conflicting declaration", "the same name is defined twice"),
    (r"no return statement|control reaches end", "a path through the function returns nothing"),
    (r"discards qualifiers", "a function that does not change the object must say const"),
    (r"use of deleted function", "something is copied that can only be moved"),
    (r"no matching function|could not convert|cannot convert",
     "the types of the arguments are not the header's"),
    (r"stray", "a character that is not C++: from a copied text, perhaps a typographic quotation mark"),
)


def ended(status, output):
    """For a process that should not have ended: (what was seen, the usual cause, the lines of its log that
    tell). `status` as subprocess gives it: negative for a signal."""
    log = interesting(output)
    report = _SANITIZER.search(output)
    if report:
        kind = report.group(1)
        kind = {"on": "SEGV"}.get(kind, kind)
        return (f"AddressSanitizer: {kind}{_where(output[report.start():])}",
                _SANITIZER_CAUSES.get(kind, "memory is used that is not there"), log)
    undefined = _UNDEFINED.search(output)
    if undefined:
        where, line, what = undefined.groups()
        return f"undefined behaviour: {what} ({_base(where)}:{line})", _undefined_cause(what), log
    thrown = re.search(r"terminate called after throwing an instance of '(.+?)'(?:\s*what\(\):\s*(.*))?",
                       output)
    if thrown:
        what = f": {thrown.group(2)}" if thrown.group(2) else ""
        return f"an exception that nobody catches: {thrown.group(1)}{what}", "", log
    assertion = _ASSERTION.search(output)
    if assertion and status == -signal.SIGABRT:
        said = assertion.group(0).strip()[:300]
        return f"an assertion failed: {said}", "the contract of a call is not kept", log
    if status < 0:
        number = signal.Signals(-status)
        words = _SIGNAL_WORDS.get(number, "the program crashed" if number in (
            signal.SIGSEGV, signal.SIGABRT, signal.SIGFPE, signal.SIGBUS, signal.SIGILL)
                                  else "the program was ended")
        return f"{words} ({number.name})", _SIGNAL_CAUSES.get(number, ""), log
    if status == 0:
        return ("the program left early, with exit status 0",
                "exit() or _exit() is called: it proves nothing here", log)
    return f"the program left early, with exit status {status}", "exit() is called, or a library gave up", log


def _undefined_cause(what):
    for pattern, cause in (("null pointer", "a null pointer, or an empty optional, is used"),
                           ("overflow",
                            "arithmetic beyond the type: check before computing, or use a wider type"),
                           ("not a valid value", "a value is used that was never set"),
                           ("division by zero", "a count may be zero"),
                           ("out of bounds", "an index runs past the end"),
                           ("shift", "a shift by more bits than the type has"),
                           ("outside the range", "a floating-point number is too large for the integer")):
        if pattern in what:
            return cause
    return ""


def _where(report):
    """The first frame that lies in a submission's file, else the first with a line."""
    frames = _FRAME.findall(report)
    own = [f for f in frames if "/build/grade/" in f[1] or "/exercises/" in f[1] or "/solutions/" in f[1]
           or "/fixtures/" in f[1]] or frames
    if not own:
        return ""
    name, path, line = own[0]
    return f" in {_plain(name)} ({_base(path)}:{line})"


def _plain(name):
    """A function's name without arguments and templates."""
    return re.sub(r"[(<].*", "", name.replace("[abi:cxx11]", ""))


def _base(path):
    return path.rsplit("/", 1)[-1]


def interesting(output):
    """The lines of a log worth showing: of a sanitizer's report its top, else the end."""
    lines = [_short_frame(line) for line in output.splitlines()]
    for at, line in enumerate(lines):
        if "ERROR: AddressSanitizer" in line or ": runtime error: " in line:
            return "\n".join(lines[at:at + LOG_LINES_MAX])
    return "\n".join(lines[-LOG_LINES_MAX:])


def _short_frame(line):
    """A line of a stack trace without address, arguments and templates: names of the library fill pages."""
    found = re.match(r"^\s*(#\d+) 0x[0-9a-f]+ in (.+?) (/\S+:\d+|\(\S+\))", line)
    if not found:
        return line
    number, name, where = found.groups()
    return f"    {number} {_plain(name) or '?'} {_base(where)}"


def compile_error(output, name):
    """The first error of a compiler or linker: (sentence with its place, the usual cause, its lines)."""
    lines = [line for line in output.splitlines() if line != "ninja: build stopped: subcommand failed."]
    for at, line in enumerate(lines):
        found = re.match(r"^(\S+?):(\d+):(?:\d+:)? (?:fatal )?error: (.*)$", line)
        if found:
            path, number, what = found.groups()
            return f"{_base(path)}:{number}: {what}", _compile_cause(line), "\n".join(lines[at:at + 8])
        found = re.search(r"undefined reference to [`'‘](.+?)['’]", line)
        if found:
            return (f"undefined reference to {found.group(1)}",
                    f"{name} does not define it, or not with exactly the "
                    "header's signature and in namespace lb", "\n".join(lines[max(0, at - 1):at + 3]))
        found = re.search(r"multiple definition of [`'‘](.+?)['’]", line)
        if found:
            return (f"multiple definition of {found.group(1)}",
                    "the balancer defines it already; put helpers into an "
                    "unnamed namespace", "\n".join(lines[max(0, at - 1):at + 3]))
    return "the compiler failed", "", "\n".join(lines[-LOG_LINES_MAX:])


def compile_warnings(output):
    """Each warning in one line, with its place."""
    found = re.findall(r"^(\S+?):(\d+):(?:\d+:)? warning: (.*?)(?: \[-W\S+\])?$", output, re.M)
    return [f"{_base(path)}:{line}: {what}" for path, line, what in found]


def _compile_cause(line):
    for pattern, cause in _COMPILE_CAUSES:
        if re.search(pattern, line):
            return cause
    return ""
