"""How the stubs come up, who trusts them, and that they are gone afterwards."""

import socket
import ssl
import stat
from pathlib import Path

import httpx
import msgspec
import pytest
from msgspec.structs import replace

from llamatrix.trials.stubs.connect_proxy import connect_proxy
from llamatrix.trials.stubs.request_log import read_requests
from llamatrix.trials.stubs.serving import HOSTS, Stubs, prepare, serve_stubs, trusting

POST = "https://jsonplaceholder.typicode.com/posts/1"


def test_host_without_stub_is_misdirected(client: httpx.Client, stubs: Stubs) -> None:
    answer = client.get(POST, headers={"Host": "example.org"})
    assert answer.status_code == 421
    assert '"example.org"' in stubs.log.read_text()


def test_long_texts_of_a_request_are_cut_in_the_log(
    client: httpx.Client, stubs: Stubs
) -> None:
    headers = {"User-Agent": "a" * 50_000, "X-" + "b" * 50_000: "c"}
    assert client.get(f"{POST}/{'d' * 50_000}", headers=headers).status_code == 404
    (request,) = read_requests(stubs.log)
    assert request.path.startswith("/posts/1/ddd")
    assert stubs.log.stat().st_size < 7_000


def test_full_log_ends_with_a_line_that_says_so(
    client: httpx.Client, stubs: Stubs
) -> None:
    assert client.get(POST).is_success
    (request,) = read_requests(stubs.log)
    almost = replace(request, path="x" * ((16 << 20) - stubs.log.stat().st_size))
    stubs.log.write_bytes(msgspec.json.encode(almost) + b"\n")
    for _ in range(3):
        assert client.get(POST).is_success
    paths = [each.path for each in read_requests(stubs.log)]
    assert paths[1:] == ["/posts/1", "(later requests are not logged)"]


def test_nothing_listens_after_the_block(stubs: Stubs) -> None:
    with serve_stubs(stubs) as port:
        pass
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def test_authority_of_another_run_is_not_trusted(stubs: Stubs, tmp_path: Path) -> None:
    other = prepare(tmp_path, models=())
    trust = ssl.create_default_context(cafile=other.tls_files.authority)
    with (
        serve_stubs(stubs) as port,
        httpx.Client(verify=trust, trust_env=False) as client,
        pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        client.get(f"https://localhost:{port}/")
    assert other.key != stubs.key


def test_only_the_user_reads_the_servers_private_key(stubs: Stubs) -> None:
    mode = stubs.tls_files.server.stat().st_mode
    assert stat.S_IMODE(mode) == 0o600
    assert "PRIVATE KEY" not in stubs.tls_files.authorities.read_text()


def test_the_bundle_for_other_servers_holds_this_machines_authorities_too(
    stubs: Stubs,
) -> None:
    own = len(ssl.create_default_context().get_ca_certs())
    bundle = ssl.create_default_context(cafile=stubs.tls_files.authorities)
    assert len(bundle.get_ca_certs()) == own + 1
    assert set(trusting(stubs.tls_files.authority).values()) == {
        str(stubs.tls_files.authority)
    }


def test_connect_proxy_passes_other_hosts_on(stubs: Stubs) -> None:
    trust = ssl.create_default_context(cafile=stubs.tls_files.authority)
    with (
        serve_stubs(stubs) as elsewhere,
        connect_proxy(HOSTS, port=1) as way,
        httpx.Client(verify=trust, proxy=way["HTTPS_PROXY"], trust_env=False) as client,
    ):
        url = f"https://localhost:{elsewhere}/posts/1"
        headers = {"Host": "jsonplaceholder.typicode.com"}
        assert client.get(url, headers=headers).status_code == 200
        with pytest.raises(httpx.ProxyError, match="502"):
            client.get(POST)  # nothing listens on the port it leads to


def test_connect_proxy_refuses_plain_requests(stubs: Stubs) -> None:
    with (
        serve_stubs(stubs) as port,
        connect_proxy(HOSTS, port=port) as way,
        httpx.Client(proxy=way["HTTPS_PROXY"], trust_env=False) as client,
    ):
        assert client.get("http://example.org/").status_code == 405
