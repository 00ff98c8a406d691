"""Keys and names that are not ASCII."""

from __future__ import annotations

from urllib.parse import quote

import httpx
import pytest

from lampc.frontend.lmp import compile_lmp
from lampc.runtime.serve import Program, Server
from tests.serve.conftest import served


def asked(server: Server, **headers: str | bytes) -> int:
    sent = [(n.replace("_", "-").encode(), v.encode() if isinstance(v, str) else v) for n, v in headers.items()]
    return httpx.get(f"{server.url}/v1/models", headers=sent, trust_env=False).status_code


def test_keys_come_as_utf8_or_latin1() -> None:
    # The UTF-8 of the third ends in a byte that is a space in Latin-1; the last is what the environment has of a byte.
    with served(keys=["plain", "schl\u00fcssel", "voil\u00e0", "\u65e5\u672c", "b\udcfcd"]) as server:
        right = (b"plain", b"voil\xc3\xa0", b"voil\xe0", "\u65e5\u672c".encode(), b"b\xfcd")
        for key in (*right, "schl\u00fcssel".encode(), "schl\u00fcssel".encode("latin-1")):
            assert asked(server, authorization=b"Bearer " + key) == asked(server, x_api_key=key) == 200, key
        for key in (b"\xff", b"schl\xc3ssel", b"plai", b"\xe6\x97\xa5"):
            assert asked(server, authorization=b"Bearer " + key) == asked(server, x_api_key=key) == 401, key
        assert asked(server) == 401


@pytest.mark.parametrize("key", ["", " ", " a", "a\n", "a\x00b", "\ud800"])
def test_keys_that_no_header_can_hold_are_refused(key: str) -> None:
    with (
        pytest.raises(ValueError, match=r"the key .* (cannot stand in a header|holds half of a character); give"),
        served(keys=[key]),
    ):
        pass


def test_programs_have_any_name() -> None:
    source = "module M(x: str) -> (x: str) { return (x: x); }"
    with served(Program("Gr\u00f6\u00dfe", compile_lmp(source, "m.lmp"))) as server:
        for name, status in (("Gr\u00f6\u00dfe".encode(), 200), (b"\xff", 404), (b"\xed\xa0\x80", 404), (b"\x00", 404)):
            path = f"{server.url}/programs/{quote(name)}"
            got = httpx.post(path, json={"inputs": {"x": "a"}}, trust_env=False)
            assert got.status_code == httpx.get(path, trust_env=False).status_code == status, got.text


def test_names_are_texts() -> None:
    with pytest.raises(ValueError, match=r"no UTF-8 text.*give another"), served(name="x\udcff"):
        pass
