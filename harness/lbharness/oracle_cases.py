"""Requests as an attacker would write them, from a seed: valid ones, some of their bytes, lines and fields
changed in the ways that are known to make two parsers disagree."""

METHODS = [
    "GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "PATCH", "TRACE", "GET", "POST", "POST",
    "PROPFIND",
]  # fmt: skip
TARGETS = [
    "/", "/a?b=c", "/%41/../b", "http://abs.test/x?y", "http://abs.test", "*", "//x", "/a;b=c", "/a\\b",
    "/\xe9",
]  # fmt: skip
LENGTHS = [
    "5", "0", "05", "+5", "-1", "5, 5", "5,6", "0x5", "5 ", " 5", "5\t", "", "5;", "18446744073709551621",
    "9223372036854775808", "5\x0b", "5\x00", "\x0c5", "5 5", "1e1",
]  # fmt: skip
CODINGS = [
    "chunked", "Chunked", "chunked, identity", "identity", "identity, chunked", "gzip, chunked",
    "xchunked", "chunked,", ",chunked", "chunked;q=1", "\x0bchunked", "chunked\x00", "\"chunked\"",
    "chunked chunked", "chunked\x0c", "\tchunked", "", "chunked, chunked", "trailers",
]  # fmt: skip
SIZES = [
    "5", "05", "0005", "5 ", " 5", "5;a", "5;a=b", "5;a=\"b\"", "5;a=\"\r\n\"", "5 ;a", "5\t;a", "0x5",
    "+5", "-5", "5\x00", "ffffffffffffffff5", "5;a\n", "5;\x00", "5,", "5_", "5;a=b;c", "5\x0b", "5;a\rb",
    "g",
]  # fmt: skip
FIELDS = [
    "Connection: close", "Connection: keep-alive", "Connection: close, keep-alive",
    "Connection: Content-Length", "Connection: Transfer-Encoding", "Connection: X-Forwarded-For",
    "Connection: Host", "Content_Length: 7", "Transfer_Encoding: chunked", "Content-Length : 5",
    "Transfer-Encoding : chunked", " Content-Length: 5", "\tTransfer-Encoding: chunked",
    "Content-Length\t: 5", "X: y\r\n Content-Length: 5", "X: y\nContent-Length: 5",
    "X: y\rTransfer-Encoding: chunked", "X: y\x00", "Host: other.test", "Host:", ": x", "no colon",
    "X-Forwarded-For: 127.9.9.9", "X-Forwarded-For: 127.9.9.9\r\nX-Forwarded-For: 127.9.9.8",
    "Expect: 100-continue", "Expect: x", "Upgrade: websocket",
    "Connection: upgrade\r\nUpgrade: websocket", "Connection: upgrade\r\nUpgrade: h2c", "TE: trailers",
    "Trailer: X-T", "Max-Forwards: 0", "Max-Forwards: 3", "X: \xff\xfe", "X:", "X:  a  b  ",
    "Cookie: a=b; c=d", "X: a, b\r\nX: c", "Keep-Alive: timeout=5", "Proxy-Connection: close", "\x0bX: y",
    "X\x0b: y", "Content-Length", "Transfer-Encoding",
]  # fmt: skip
VERSIONS = ["HTTP/1.1"] * 12
VERSIONS += ["HTTP/1.0", "HTTP/1.0", "HTTP/1.2", "HTTP/2.0", "http/1.1", "HTTP/1.1 ", "HTTP/01.1", ""]
ENDS = ["\r\n"] * 30 + ["\n", "\r", "\r\r\n", "\n\r", " \r\n"]
SPECIAL = [
    b"\r", b"\n", b"\r\n", b"\x00", b" ", b"\t", b"\x0b", b"\x0c", b"\x85", b"\xa0", b":", b",", b";",
    b"0", b"\x7f", b"\r\n\r\n", b"0\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\xe2\x80\xa8", b"#",
    b"\\",
]  # fmt: skip


class Generator:
    def __init__(self, rng):
        self.rng = rng

    def case(self):
        """The bytes of one connection: one to three requests, up to three changes."""
        rng = self.rng
        data = b"".join(self.request() for _ in range(rng.choice((1, 1, 2, 2, 3))))
        for _ in range(rng.choice((0, 0, 0, 0, 1, 1, 2, 3))):
            data = self.changed(data)
        return data

    def rarely(self, usual, others, one_in=12):
        return self.rng.choice(others) if self.rng.randrange(one_in) == 0 else usual

    def request(self):
        rng = self.rng
        method = rng.choice(METHODS)
        target = rng.choice(TARGETS) if rng.randrange(4) == 0 else f"/{rng.randrange(1000)}"
        lines = [
            f"{method} {target} {self.rarely('HTTP/1.1', VERSIONS, 8)}",
            f"Host: h{rng.randrange(9)}.test",
        ]
        payload = rng.choice(
            [b"hello", b"a\r\n0\r\n\r\n", b"GET /in HTTP/1.1\r\nHost: a\r\n\r\n", b"0", b"\x00\xff\r\n"]
        )
        body = b""
        how = (
            rng.randrange(5)
            if method in ("POST", "PUT", "PATCH", "DELETE")
            else rng.choice((0, 0, 0, 0, 0, 0, 0, 1, 2))
        )
        if how in (1, 3):
            lines.append(f"Content-Length: {self.rarely(str(len(payload)), LENGTHS)}")
            body = payload
        if how in (2, 4):
            lines.append(f"Transfer-Encoding: {self.rarely('chunked', CODINGS)}")
            body = self.chunks(payload)
        if rng.randrange(25) == 0:  # both, or one twice
            lines.append(
                rng.choice(
                    [f"Content-Length: {rng.choice(LENGTHS)}", f"Transfer-Encoding: {rng.choice(CODINGS)}"]
                )
            )
        for _ in range(rng.choice((0, 0, 0, 1, 1, 2))):
            lines.insert(
                rng.randrange(1, len(lines) + 1),
                rng.choice(FIELDS) if rng.randrange(3) == 0 else "X-Plain: value",
            )
        head = "".join(line + self.rarely("\r\n", ENDS, 60) for line in lines) + self.rarely(
            "\r\n", ENDS, 60
        )
        return head.encode("latin-1", "replace") + body

    def chunks(self, payload):
        rng = self.rng
        cut = rng.randrange(len(payload) + 1)
        out = b""
        for part in (payload[:cut], payload[cut:]):
            if not part:
                continue
            size = f"{len(part):x}" + rng.choice(["", "", "", "", ";x", ';x="y"', " ;x=y"])
            out += self.rarely(size, SIZES, 15).encode("latin-1") + b"\r\n" + part
            out += self.rarely("\r\n", ENDS, 30).encode()
        out += self.rarely("0", ["00", "0;x", "0 ", "-0", "0x0", "", "0\x00"], 20).encode() + b"\r\n"
        trailers = [
            "X-T: 1\r\n",
            "Content-Length: 3\r\n",
            "Host: evil\r\n",
            "X-T: 1\n",
            " X: y\r\n",
            "X-T\r\n",
            "Transfer-Encoding: chunked\r\n",
        ]
        return out + self.rarely("", trailers, 6).encode() + self.rarely("\r\n", ENDS, 40).encode()

    def changed(self, data):
        rng = self.rng
        at = rng.randrange(len(data) + 1) if data else 0
        how = rng.randrange(7)
        if how == 0:
            return data[:at] + rng.choice(SPECIAL) + data[at:]
        if how == 1:
            end = at + rng.randrange(1, 4)
            return data[:at] + data[end:]
        if how == 2 and data:
            at = min(at, len(data) - 1)
            end = at + 1
            return data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[end:]
        if how == 3:  # a line twice, or moved
            lines = data.split(b"\r\n")
            line = lines[rng.randrange(len(lines))]
            lines.insert(rng.randrange(len(lines) + 1), line)
            return b"\r\n".join(lines)
        if how == 4:
            end = len(data) if rng.randrange(4) == 0 else at + 20
            return data[:at] + data[at:end].swapcase() + data[end:]
        if how == 5:
            return data[:at]  # cut short
        return data[:at] + rng.choice(FIELDS).encode("latin-1") + b"\r\n" + data[at:]
