"""A node's configuration file: one line that names file and place for everything that can be wrong with it."""

from pathlib import Path

import pytest
from hypothesis import given
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


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for name, text in [("node.key", SEED.hex()), ("node.token", "0123456789abcdef")]:
        (tmp_path / name).write_text(text + "\n")
        (tmp_path / name).chmod(0o600)
    return tmp_path


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


@given(st.binary(max_size=200))
def test_no_bytes_do_more_than_be_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.toml"
    path.write_bytes(data)
    with pytest.raises(ConfigError):
        read_settings(path)
