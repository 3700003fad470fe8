"""A node's configuration file: one line that names file and place for everything that can be wrong with it."""

import json
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from knhk_mesh.errors import ConfigError
from knhk_mesh.identity import Signer
from knhk_mesh.settings import read_settings

SEED = bytes(range(32))
AGENT = Signer(SEED).agent_id.hex()
PEERS = [Signer(bytes([n]) * 32).agent_id.hex() for n in range(1, 5)]
GOOD = f"""
network = "n"
agent = "{AGENT}"
key = "node.key"
token = "node.token"
data = "data"
listen = "127.0.0.1:7000"
control = "127.0.0.1:7001"
"""
GOSSIP = "[gossip]\nfanout = 2\n"
PEER = f'[[peers]]\nagent = "{PEERS[0]}"\naddress = "127.0.0.1:8000"\n'


def furnished(path: Path) -> Path:
    for name, text in [("node.key", SEED.hex()), ("node.token", "0123456789abcdef")]:
        (path / name).write_text(text + "\n")
        (path / name).chmod(0o600)
    return path


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return furnished(tmp_path)


@pytest.fixture(scope="module")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return furnished(tmp_path_factory.mktemp("home"))


def read(home: Path, text: str):
    (home / "node.toml").write_text(text)
    return read_settings(home / "node.toml")


def test_a_file_is_read_with_its_defaults(home: Path) -> None:
    settings = read(home, GOOD + GOSSIP + PEER)
    assert settings.seed == SEED and settings.token == "0123456789abcdef" and settings.data == home / "data"
    assert settings.transport == "quic" and settings.config.fanout == 2
    assert settings.config.gossip_interval_ns == 100_000_000
    assert [peer.agent_id.hex() for peer in settings.config.peers] == [PEERS[0]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD + "colour = 1", "unknown field `colour`"),
        (GOOD + "[gossip]\nfanuot = 2", "gossip: Object contains unknown field `fanuot`"),
        (GOOD + PEER + "port = 1", "unknown field `port`"),
        (GOOD.replace('"n"', "7"), "network: Expected `str`, got `int`"),
        (GOOD.replace('key = "node.key"\n', ""), "missing required field `key`"),
        (GOOD.replace(AGENT, AGENT[:-1]), "agent: "),
        (GOOD.replace(AGENT, PEERS[0]), "agent: is not the public key of"),
        (GOOD.replace('"n"', '""'), "network has 1 to 128 characters"),
        (GOOD.replace(":7000", ":70000"), "listen: 127.0.0.1:70000 has no port"),
        (GOOD.replace("127.0.0.1:7001", "nonsense"), "control: "),
        (GOOD + 'transport = "pigeon"', "transport: Invalid enum value 'pigeon'"),
        (GOOD + "faulty = 1", "faulty is at most"),
        (GOOD + "[gossip]\nfanout = 0", "fanout is at least 1"),
        (GOOD + "[gossip]\ninterval_ms = 0", "gossip.interval_ms: is not in 1 .. 60000"),
        (GOOD + "[gossip]\ninterval_ms = inf", "gossip.interval_ms: is not in 1 .. 60000"),
        (GOOD + '[gossip]\nstrategy = "best"', "strategy is one of"),
        (GOOD + "[gossip]\nframe_bytes_max = 10", "frame_bytes_max is at least"),
        (GOOD + PEER + PEER, "peers are distinct"),
        (GOOD + PEER.replace(PEERS[0], AGENT), "peers: name this node itself"),
        ("= nothing", "is not TOML"),
        (GOOD.replace("node.key", "no.key"), "key: .*no.key cannot be read: No such file"),
        (GOOD.replace("node.token", "no.token"), "token: .*no.token cannot be read: No such file"),
        ("", "missing required field `network`"),
        (GOOD.replace(AGENT, AGENT + "\\n"), "agent: "),
        (GOOD.replace(":7000", ":7000\\n"), "listen: "),
        (GOOD.replace("127.0.0.1:7001", "a..b:7001"), "control: a..b:7001 is not host:port: no host has such a name"),
        (GOOD.replace("127.0.0.1:7001", "a\\u0000b:7001"), "control: .* no host has such a name"),
        (GOOD + PEER.replace(":8000", ":65536"), r"peers\[0\].address: 127.0.0.1:65536 has no port of 1 to 65535"),
        (GOOD + PEER.replace(":8000", ":0"), r"peers\[0\].address: 127.0.0.1:0 has no port of 1 to 65535"),
        (GOOD + PEER.replace(PEERS[0], PEERS[0] + "\\n"), r"peers\[0\].agent: "),
        (GOOD + "".join(PEER.replace(PEERS[0], one) for one in PEERS[:2]) + "[x]", "unknown field `x`"),
        (GOOD + "faulty = 1\n" + "".join(PEER.replace(PEERS[0], one) for one in PEERS[:2]), "faulty is at most .* 3"),
        (GOOD + "faulty = 2\n" + "".join(PEER.replace(PEERS[0], one) for one in PEERS), "faulty is at most .* 5"),
        (GOOD + "faulty = -1", "faulty is at most"),
        (GOOD + "[gossip]\ninterval_ms = 60000.1", "gossip.interval_ms: is not in 1 .. 60000"),
        (GOOD + "[gossip]\ninterval_ms = nan", "gossip.interval_ms: is not in 1 .. 60000"),
        (GOOD + "[gossip]\ninterval_ms = " + "9" * 5000, "is not TOML: .*4300 digits"),
        (GOOD + "[gossip]\nfanout = 2.0", "gossip.fanout: Expected `int`, got `float`"),
        (GOOD.replace("node.key", "a\\u0000b"), "key: no path has a NUL in it"),
        (GOOD.replace("node.token", "a\\u0000b"), "token: no path has a NUL in it"),
        (GOOD.replace('"data"', '"a\\u0000b"'), "data: no path has a NUL in it"),
        (GOOD.replace("node.key", "a\\nb"), "key: .*a b cannot be read: No such file"),
        (GOOD + '"a\\nb" = 1', "unknown field `a b`"),
        (GOOD + "deep = " + "[" * 5000, "is not TOML: maximum recursion depth"),
    ],
)
def test_what_is_wrong_is_one_line_that_names_the_place(home: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        read(home, text)
    assert str(caught.value).startswith(str(home / "node.toml")) and "\n" not in str(caught.value)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
@pytest.mark.parametrize("name", ["node.key", "node.token"])
def test_a_secret_that_others_may_read_is_none(home: Path, name: str, mode: int) -> None:
    (home / name).chmod(mode)
    with pytest.raises(ConfigError, match=rf"may be read by others \(mode {mode:03o}\); chmod 600"):
        read(home, GOOD)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("node.key", "zz", "does not hold hexadecimal"),
        ("node.key", "ab" * 31, "holds 31 bytes, a seed has 32"),
        ("node.key", "", "holds 0 bytes"),
        ("node.key", "ab" * 33, "holds 33 bytes, a seed has 32"),
        ("node.key", SEED.hex() + " " * 5000 + "zz", "has more than 4096 bytes"),
        ("node.token", "x" * 5000, "has more than 4096 bytes"),
        ("node.token", "0123456789abcdef\n0123456789abcdef", "16 printable characters"),
        ("node.token", "short", "16 printable characters"),
        ("node.token", "has a blank in the middle", "16 printable characters"),
        ("node.token", "\udcff" * 20, "is not text"),
    ],
)
def test_a_secret_that_is_none_is_said(home: Path, name: str, text: str, said: str) -> None:
    (home / name).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ConfigError, match=said):
        read(home, GOOD)


def test_a_file_that_cannot_be_read(home: Path) -> None:
    for path in (home / "none.toml", home):
        with pytest.raises(ConfigError, match="cannot be read"):
            read_settings(path)


def test_a_file_that_is_no_text(home: Path) -> None:
    (home / "node.toml").write_bytes(GOOD.encode() + b'region = "\xff"')
    with pytest.raises(ConfigError, match=r"node.toml: is not TOML: .*utf-8"):
        read_settings(home / "node.toml")


def test_as_many_may_be_faulty_as_the_members_allow(home: Path) -> None:
    peers = "".join(PEER.replace(PEERS[0], one) for one in PEERS[:3])
    assert read(home, GOOD + "faulty = 1\n" + peers).config.faulty == 1


VALUES = st.one_of(
    st.integers().map(str),
    st.floats().map(str),
    st.text(max_size=80).map(json.dumps),
    st.sampled_from(["true", "[]", "{}", "[{}]", "2020-01-01", '""', '"."', '"..:1"', '"[::1]:1"', "''", '"\\u0000"']),
)
LINES = [*GOOD.strip().splitlines(), 'transport = "tcp"', "faulty = 0", *GOSSIP.strip().splitlines()[:1]]
LINES += ["fanout = 2", "interval_ms = 5.0", 'strategy = "random"', "frame_bytes_max = 60000", *PEER.splitlines()]


@given(st.integers(0, len(LINES) - 1), VALUES)
@example(3, '"a\\u0000b"')
@example(6, '"a..b:1"')
def test_any_value_in_any_place_is_taken_or_refused_in_one_line(shared_home: Path, at: int, value: str) -> None:
    lines = list(LINES)
    key = lines[at].partition(" = ")[0]
    lines[at] = f"{key} = {value}" if "[" not in key else value
    (shared_home / "node.toml").write_text("\n".join(lines), encoding="utf-8")
    try:
        read_settings(shared_home / "node.toml")
    except ConfigError as error:
        assert str(error).startswith(str(shared_home / "node.toml")) and len(str(error).splitlines()) == 1


@given(st.binary(max_size=200))
def test_no_bytes_do_more_than_be_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.toml"
    path.write_bytes(data)
    with pytest.raises(ConfigError):
        read_settings(path)
