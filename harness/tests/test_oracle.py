"""No request is smuggled: our parser and the whole balancer against Node. The long run is make oracle;
this is a few seconds of it, and proof that it can fail."""

import pytest
from conftest import SEED
from lbharness import oracle

CASES = 600

pytestmark = pytest.mark.skipif(
    oracle.node_program() is None, reason="Node is not installed (apt-get install nodejs): no oracle to ask"
)


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    with oracle.Oracle(tmp_path_factory.mktemp("oracle"), SEED) as made:
        yield made


def test_node_reads_what_we_read(compared):
    result = compared.run(CASES)
    assert not result.disagreements, "\n".join(str(d) for d in result.disagreements[:5])
    assert result.requests_passed > CASES / 5, "the generator makes requests that get through"
    assert result.refused_by_us > CASES / 10, "and such as do not"


SMUGGLED = (
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 44\r\n\r\n"
    b"GET /smuggled HTTP/1.1\r\nHost: evil.test\r\n\r\nxx"
)
ONE = {
    "method": "POST",
    "target": "/",
    "path": "/",
    "host": "a",
    "body": "78",
    "forwarded": True,
    "unread": False,
    "contradicts": False,
    "upgrade": False,
}
SEEN = {"method": "POST", "url": "/", "host": "a", "body": "78"}
OTHER = {"method": "GET", "url": "/smuggled", "host": "evil.test", "body": ""}

CONTROLS = {
    "the backend reads one more": ([ONE], "nothing", [SEEN, OTHER], [], [SEEN], "through"),
    "the backend reads another body": ([ONE], "nothing", [{**SEEN, "body": ""}], [], [SEEN], "through"),
    "the backend reads another host": ([ONE], "nothing", [{**SEEN, "host": "b"}], [], [SEEN], "through"),
    "Node reads one more": ([ONE], "nothing", [SEEN], [], [SEEN, OTHER], "direct"),
    "Node reads another": ([ONE], "nothing", [SEEN], [], [OTHER], "direct"),
    "Node reads none": ([ONE], "nothing", [SEEN], [], [], "direct"),
    "Node reads what we call incomplete": ([], "incomplete", [], [], [SEEN], "direct"),
}


@pytest.mark.parametrize("name", CONTROLS)
def test_the_oracle_can_fail(compared, name):
    requests, end, proxied, errors, direct, rule = CONTROLS[name]
    before, compared.result.disagreements = compared.result.disagreements, []
    compared.judge(
        SMUGGLED,
        {"requests": requests, "end": end, "status": 0},
        {"requests": proxied, "errors": errors, "started": len(proxied)},
        {"requests": direct, "errors": [], "started": len(direct)},
        len(requests),
    )
    found, compared.result.disagreements = compared.result.disagreements, before
    assert [d.rule for d in found] == [rule]


def test_a_request_of_nobody_is_seen(compared):
    """A balancer that lets a request through without vouching for its client would be caught."""
    from lbharness import wire

    wire.fetch(("127.0.0.1", compared.ports["proxied"]), "/smuggled")
    before, compared.result.disagreements = compared.result.disagreements, []
    compared.batch([b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"])
    found, compared.result.disagreements = compared.result.disagreements, before
    assert [d.rule for d in found] == ["through"]
