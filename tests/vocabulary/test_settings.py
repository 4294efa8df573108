"""One file of settings: every mistake at once, and secrets from the environment."""

from datetime import timedelta
from pathlib import Path

import pytest

from mammography.settings_file import SettingsRefused, load_settings
from node.settings import AlarmsSection, NodeSettings


def written(folder, text):
    file = folder / "mammocalc.toml"
    file.write_text(text)
    return file


def test_without_a_file_the_embedded_defaults_hold():
    settings = load_settings(NodeSettings)
    assert (settings.node.ae_title, settings.node.port) == ("MAMMOCALC", 11112)
    assert settings.ledger.url == "sqlite:///var/ledger.db"
    assert settings.queue.url == "embedded"
    assert settings.completion.quiet_period == timedelta(seconds=60)


def test_every_mistake_is_reported_at_once_and_by_its_name(tmp_path):
    file = written(
        tmp_path,
        """
        [node]
        ae_title = "A_TITLE_THAT_IS_TOO_LONG"
        port = 0
        prot = 11112
        [[destinations]]
        name = "pacs"
        ae_title = "ORTHANC"
        host = "127.0.0.1"
        port = 4242
        objects = ["cad-sr", "hologram"]
        [watches]
        """,
    )
    with pytest.raises(SettingsRefused) as refused:
        load_settings(NodeSettings, file)
    sentences = str(refused.value).splitlines()
    assert len(sentences) == 5
    for name in ("[node].ae_title", "[node].port", "[node].prot", "[destinations].0.objects", "[watches]"):
        assert any(sentence.startswith(name) for sentence in sentences), (name, sentences)
    assert "not a setting" in next(s for s in sentences if s.startswith("[node].prot"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[node", "is not TOML"),
        ('[completion]\nquiet_period = "PT10M"\nlongest_wait = "PT1M"', "longest_wait must not be shorter"),
        ('[ledger]\nurl = "mysql://x"', "[ledger].url"),
        ('[ledger]\nurl = "sqlite:///"', "The ledger needs a file"),
        ('[ledger]\nurl = "sqlite:///:memory:"', "The ledger needs a file"),
        ('[ledger]\nurl = "postgresql+psycopg://db:abc/x"', "The port of the ledger's url is no number."),
        ('[[callers]]\nae_title = "A"\nhost = "10.0.0.0/99"', "[callers].0"),
        ('[node]\nstorage_classes = ["1.2.x"]', "[node].storage_classes.0"),
        ('[[callers]]\nae_title = "A"\ncommitment_port = 0', "[callers].0.commitment_port"),
        ('[retention]\nimages = "sometimes"', "[retention].images in"),
        ('[retention]\nimages = "PT0S"', 'give an age such as "P30D"'),
        ('[retention]\nimages = "P999999D"', "at most 100 years"),
    ],
)
def test_a_mistake_is_a_sentence_that_names_it(tmp_path, text, told):
    with pytest.raises(SettingsRefused) as refused:
        load_settings(NodeSettings, written(tmp_path, text))
    assert told in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://mammocalc:secret@db:abc/mammocalc",
        "postgresql+psycopg://db:abc/mammocalc?password=secret",
        "mammocalc:secret@db/mammocalc",
    ],
)
def test_a_url_that_is_refused_tells_nobody_its_password(tmp_path, url):
    with pytest.raises(SettingsRefused) as refused:
        load_settings(NodeSettings, written(tmp_path, f'[ledger]\nurl = "{url}"'))
    assert "[ledger].url" in str(refused.value)
    assert "secret" not in str(refused.value)


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(SettingsRefused, match=r"no settings file .*nowhere\.toml"):
        load_settings(NodeSettings, Path("nowhere.toml"))


def test_the_environment_replaces_what_a_supervisor_decides(monkeypatch, tmp_path):
    monkeypatch.setenv("MAMMOCALC_QUEUE_URL", "redis://127.0.0.1:6380/0")
    settings = load_settings(NodeSettings, written(tmp_path, '[queue]\nurl = "embedded"'))
    assert settings.queue.url == "redis://127.0.0.1:6380/0"


def test_a_caller_may_come_from_a_network(tmp_path):
    settings = load_settings(
        NodeSettings, written(tmp_path, '[[callers]]\nae_title = "MOD1"\nhost = "10.1.2.3/8"')
    )
    assert [str(network) for network in settings.callers[0].networks] == ["10.0.0.0/8"]


def test_a_caller_without_a_host_may_come_from_anywhere(tmp_path):
    settings = load_settings(NodeSettings, written(tmp_path, '[[callers]]\nae_title = "MOD1"'))
    assert [str(network) for network in settings.callers[0].networks] == ["0.0.0.0/0", "::/0"]


@pytest.mark.parametrize(
    "url", ["redis://h:abc/0", "redis://h:0/0", "rediss://h:65536", "redis://[::1/0", "redis://h/a"]
)
def test_a_queue_has_a_port_and_a_database_that_are_numbers(tmp_path, url):
    with pytest.raises(SettingsRefused, match=r"\[queue\]\.url in .*port and database are numbers\.$"):
        load_settings(NodeSettings, written(tmp_path, f'[queue]\nurl = "{url}"'))


@pytest.mark.parametrize(
    "url",
    [
        "redis://",
        "redis://h",
        "redis://[::1]:6379/",
        "redis://h:6379/0/",
        "rediss://u:p@h:6380/15?ssl_cert_reqs=none",
        "redis+socket:///a:b",
    ],
)
def test_a_queue_may_be_where_redis_may(tmp_path, url):
    settings = load_settings(NodeSettings, written(tmp_path, f'[queue]\nurl = "{url}"'))
    assert settings.queue.url == url


PACS = 'name = "pacs"\nae_title = "PACS"\nhost = "pacs"\nport = 104\n'


@pytest.mark.parametrize(
    ("section", "name", "longest"),
    [
        ("[retention]\n", "images", "P36525D"),
        ("[reader]\n", "lease", "P36525D"),
        ('[completion]\nlongest_wait = "P36525D"\n', "quiet_period", "P36525D"),
        ("[completion]\n", "longest_wait", "P36525D"),
        *[("[alarms]\n", state, "P36525D") for state in AlarmsSection.model_fields],
        ('[completion.ask]\nae_title = "PACS"\nhost = "pacs"\nport = 104\n', "timeout", "P1D"),
        (f"[[destinations]]\n{PACS}", "timeout", "P1D"),
    ],
)
def test_whatever_lasts_has_an_end(tmp_path, section, name, longest):
    load_settings(NodeSettings, written(tmp_path, f'{section}{name} = "{longest}"'))
    with pytest.raises(SettingsRefused, match=rf"\.{name}"):
        load_settings(NodeSettings, written(tmp_path, f'{section}{name} = "{longest}T1S"'))


@pytest.mark.parametrize(
    ("text", "kept_for"),
    [
        ("", timedelta(days=30)),
        ('[retention]\nimages = "P1W"', timedelta(days=7)),
        ('[retention]\nimages = "P400D"', timedelta(days=400)),
        ('[retention]\nimages = "never"', "never"),
    ],
)
def test_images_are_kept_for_an_age_or_for_ever(tmp_path, text, kept_for):
    assert load_settings(NodeSettings, written(tmp_path, text)).retention.images == kept_for


TLS = '[tls]\ncertificate = "node.pem"\nkey = "node.key"\n'


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"{TLS}port = 11112", "[node].port and [tls].port are the same: 11112"),
        ("[node]\nport = 8080", "[node].port and [console].port are the same: 8080"),
        (f"{TLS}[console]\nport = 2762", "[console].port and [tls].port are the same: 2762"),
    ],
)
def test_two_ports_cannot_be_one(tmp_path, text, told):
    with pytest.raises(SettingsRefused) as refused:
        load_settings(NodeSettings, written(tmp_path, text))
    assert told in str(refused.value)


def test_one_port_on_two_addresses_is_two(tmp_path):
    text = '[node]\nhost = "10.0.0.5"\nport = 8080\n[console]\nhost = "127.0.0.1"\nport = 8080\n'
    assert load_settings(NodeSettings, written(tmp_path, text)).console.port == 8080


def test_tls_has_the_port_that_is_registered_for_it(tmp_path):
    assert load_settings(NodeSettings, written(tmp_path, TLS)).tls.port == 2762


def test_the_shipped_example_is_right():
    example = Path(__file__).resolve().parents[2] / "deploy" / "demo.toml"
    assert load_settings(NodeSettings, example).destinations[0].commitment
