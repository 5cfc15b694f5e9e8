"""Settings: what each environment gives, and what is refused in words that help."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from lightning.settings import Settings, SettingsError, from_environment, settings_table

KEY = "canary-signing-key-of-more-than-32-bytes"
SECRET = "whsec_" + "Q0FOQVJZ" * 4
AZURE = {
    "LIGHTNING_MODE": "azure",
    "OPENAI_API_KEY": "sk-canary",
    "JWT_SIGNING_KEY": KEY,
    "SERVICEBUS_CONNECTION": "Endpoint=sb://x/;SharedAccessKeyName=n;SharedAccessKey=Y2FuYXJ5LWJ1cw==",
    "COSMOS_CONNECTION": "AccountEndpoint=https://x/;AccountKey=Y2FuYXJ5LWRi==;",
    "WORKER_IMAGE": "registry.example/agents:1",
    "ACI_RESOURCE_GROUP": "runs",
    "ACI_SUBSCRIPTION": "00000000-0000-0000-0000-000000000001",
    "LIGHTNING_PUBLIC_URL": "https://lightning.example",
}
EMULATOR = "Endpoint=http://127.0.0.1:9;SubscriptionId=s;AccessToken=canary-token;"
REGISTRY = {
    "ACI_REGISTRY_SERVER": "x.azurecr.io",
    "ACI_REGISTRY_USERNAME": "pull",
    "ACI_REGISTRY_PASSWORD": "canary-password",
}


def problems_of(environ: dict[str, str]) -> dict[str, str]:
    with pytest.raises(SettingsError) as caught:
        Settings.load(environ)
    return {problem.name: problem.message for problem in caught.value.problems}


def without(environ: dict[str, str], *names: str) -> dict[str, str]:
    return {name: value for name, value in environ.items() if name not in names}


class TestDefaults:
    def test_the_specification_names_them(self):
        settings = Settings.load({})

        assert settings.openai_model == "gpt-3.5-turbo"
        assert settings.servicebus_queue == "lightning"
        assert settings.aci_region == "centralindia"
        assert settings.cosmos_database == "lightning"
        assert settings.user_container == "users"
        assert settings.repo_container == "repos"
        assert settings.schedule_container == "schedules"

    def test_nothing_set_runs_on_one_machine(self):
        settings = Settings.load({})

        assert (settings.mode, settings.broker, settings.storage) == ("embedded", "sqlite", "sqlite")
        assert (settings.runner, settings.llm) == ("sandbox", "echo")
        assert (settings.host, settings.port) == ("127.0.0.1", 8000)

    def test_azure_uses_azure(self):
        settings = Settings.load(AZURE)

        assert (settings.broker, settings.storage) == ("servicebus", "cosmos")
        assert (settings.runner, settings.llm) == ("aci", "openai")

    def test_a_key_brings_the_model(self):
        assert Settings.load({"OPENAI_API_KEY": "sk-1"}).llm == "openai"
        assert Settings.load({"OPENAI_API_KEY": "sk-1", "LIGHTNING_LLM": "echo"}).llm == "echo"

    def test_empty_is_not_set(self):
        assert Settings.load(
            dict.fromkeys(["PORT", "SERVICEBUS_CONNECTION", "LIGHTNING_NO_SUCH"], "")
        ) == Settings.load({})

    def test_the_process_environment_is_not_read(self, monkeypatch):
        monkeypatch.setenv("PORT", "9999")
        monkeypatch.setenv("port", "9999")
        assert Settings.load({}).port == 8000

    def test_data_does_not_move_with_the_working_directory(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        settings = Settings.load({})
        monkeypatch.chdir("/")
        assert settings.data == tmp_path / ".lightning"

    def test_they_are_read_only(self):
        with pytest.raises(ValidationError, match="frozen"):
            Settings.load({}).port = 1


class TestRules:
    @pytest.mark.parametrize("name", sorted(set(AZURE) - {"LIGHTNING_MODE"}))
    def test_azure_needs_each(self, name):
        assert problems_of(without(AZURE, name)) == {name: "it is required by LIGHTNING_MODE=azure"}

    @pytest.mark.parametrize("name", ["SERVICEBUS_CONNECTION", "COSMOS_CONNECTION", "ACI_SUBSCRIPTION"])
    def test_connections_need_azure(self, name):
        assert list(problems_of({name: AZURE[name]})) == [name]
        assert list(problems_of({name: AZURE[name], "LIGHTNING_MODE": "embedded"})) == [name]

    @pytest.mark.parametrize(
        ("part", "choice", "connection"),
        [
            ("LIGHTNING_BROKER", "servicebus", "SERVICEBUS_CONNECTION"),
            ("LIGHTNING_STORAGE", "cosmos", "COSMOS_CONNECTION"),
        ],
    )
    def test_a_part_can_be_forced_onto_azure(self, part, choice, connection):
        settings = Settings.load({part: choice, connection: AZURE[connection]})
        assert settings.mode == "embedded"
        assert choice in {settings.broker, settings.storage}

        assert problems_of({part: choice}) == {connection: f"it is required by {part}={choice}"}

    def test_an_emulator_on_this_machine_stands_for_the_subscription(self):
        settings = Settings.load({**without(AZURE, "ACI_SUBSCRIPTION"), "ACI_EMULATOR": EMULATOR})
        assert settings.aci_emulator.get_secret_value() == EMULATOR
        assert {EMULATOR, "canary-token"} <= set(settings.secret_values())

        # And its token goes nowhere else
        elsewhere = EMULATOR.replace("127.0.0.1", "192.0.2.1")
        assert problems_of({**AZURE, "ACI_EMULATOR": elsewhere}) == {
            "ACI_EMULATOR": "its Endpoint is not on this machine"
        }
        assert list(problems_of({**AZURE, "ACI_EMULATOR": "Endpoint=http://127.0.0.1:9;"})) == [
            "ACI_EMULATOR"
        ]

    def test_a_registry_is_named_with_its_token(self):
        assert Settings.load({**AZURE, **REGISTRY}).aci_registry_server == "x.azurecr.io"
        for name in REGISTRY:
            message = "it is required by the others of ACI_REGISTRY_*"
            assert problems_of({**AZURE, **without(REGISTRY, name)}) == {name: message}

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("ACI_SUBSCRIPTION", "Pay-As-You-Go"),
            ("ACI_SUBNET", "runs"),
            ("ACI_ISOLATED_SUBNET", "/subscriptions/s/resourceGroups/g/providers/x/subnets/n"),
            ("ACI_DEPLOYMENT", "Two words"),
        ],
    )
    def test_what_azure_would_refuse_later_is_refused_at_the_start(self, name, text):
        assert list(problems_of({**AZURE, name: text})) == [name]

    def test_prices_are_checked_at_the_start(self):
        assert list(problems_of({"LIGHTNING_MODEL_PRICES": '{"m": 1}'})) == ["LIGHTNING_MODEL_PRICES"]
        prices = Settings.load({"LIGHTNING_MODEL_PRICES": '{"m": {"input": 1, "output": 2}}'}).prices
        assert (prices["m"].input, prices["m"].output) == (1, 2)

    def test_a_namespace_stands_for_the_connection_string_of_the_queue(self):
        named = {"SERVICEBUS_NAMESPACE": "name.servicebus.windows.net"}
        settings = Settings.load({**without(AZURE, "SERVICEBUS_CONNECTION"), **named})
        assert settings.servicebus_namespace == "name.servicebus.windows.net"

        assert list(problems_of(named)) == ["SERVICEBUS_NAMESPACE"]
        assert list(problems_of({"SERVICEBUS_NAMESPACE": "sb://x/"})) == ["SERVICEBUS_NAMESPACE"]

    def test_cosmos_db_is_named_by_its_connection_or_its_address(self):
        environ = {**without(AZURE, "COSMOS_CONNECTION"), "COSMOS_ENDPOINT": "https://x.documents.azure.com"}
        assert Settings.load(environ).cosmos_connection is None
        assert list(problems_of({"COSMOS_ENDPOINT": "https://x"})) == ["COSMOS_ENDPOINT"]

    @pytest.mark.parametrize(
        ("text", "advice"),
        [
            ("SharedAccessKey=canary", "it has no Endpoint=sb://..."),
            (
                AZURE["SERVICEBUS_CONNECTION"] + ";EntityPath=canary",
                "it is that of one queue (EntityPath=...): give the one of the namespace",
            ),
        ],
    )
    def test_a_connection_string_of_service_bus_is_that_of_a_namespace(self, text, advice):
        message = problems_of({**AZURE, "SERVICEBUS_CONNECTION": text})["SERVICEBUS_CONNECTION"]
        assert message == advice

    @pytest.mark.parametrize(
        "text", ["x", "AccountEndpoint=https://x/", "AccountEndpoint=x;AccountKey=canary"]
    )
    def test_a_connection_string_of_cosmos_db_is_read_at_the_start(self, text):
        message = problems_of({**AZURE, "COSMOS_CONNECTION": text})["COSMOS_CONNECTION"]
        assert "AccountEndpoint=" in message
        assert "canary" not in message

    @pytest.mark.parametrize(
        ("text", "advice"),
        [
            ("InstrumentationKey=canary;IngestionEndpoint=https://x/", "it"),
            ("InstrumentationKey=00000000-0000-0000-0000-00000000000a", "IngestionEndpoint"),
        ],
    )
    def test_a_connection_string_of_application_insights_names_where_to_send(self, text, advice):
        message = problems_of({"APPLICATIONINSIGHTS_CONNECTION_STRING": text})
        assert advice in message["APPLICATIONINSIGHTS_CONNECTION_STRING"]
        assert "canary" not in str(message)

    @pytest.mark.parametrize("name", ["OPENAI_BASE_URL", "NOTIFY_URL"])
    @pytest.mark.parametrize("user", ["x:canary-password", "canary-token", ":canary-password"])
    def test_an_address_has_no_password_in_it(self, name, user):
        message = problems_of({name: f"https://{user}@model.example/v1"})[name]
        assert "a user name or a password" in message
        assert "canary" not in message

    def test_telemetry_goes_to_application_insights_in_either_mode(self):
        connection = "InstrumentationKey=00000000-0000-0000-0000-00000000000a;IngestionEndpoint=https://x/"
        for environ in ({}, AZURE):
            settings = Settings.load({**environ, "APPLICATIONINSIGHTS_CONNECTION_STRING": connection})
            assert settings.monitor_connection.get_secret_value() == connection
            assert connection in settings.secret_values()

    @pytest.mark.parametrize(
        "url", ["lightning.example", "ftp://x", "https://x?a=1", "https://x/#a", "https://"]
    )
    def test_a_public_address_is_one(self, url):
        assert "http" in problems_of({**AZURE, "LIGHTNING_PUBLIC_URL": url})["LIGHTNING_PUBLIC_URL"]

    def test_a_public_address_may_have_a_path(self):
        url = {"LIGHTNING_PUBLIC_URL": "https://x.example/lightning/"}
        assert Settings.load({**AZURE, **url}).public_url == "https://x.example/lightning"

    def test_the_run_api_has_a_socket_where_runs_are_on_this_machine(self):
        here = Settings.load({"LIGHTNING_DATA": "/data"})
        assert str(here.run_api_socket) == "/data/run-api.sock"
        emulated = {**without(AZURE, "ACI_SUBSCRIPTION", "LIGHTNING_PUBLIC_URL"), "ACI_EMULATOR": EMULATOR}
        assert Settings.load(emulated).run_api_socket is not None
        assert Settings.load(AZURE).run_api_socket is None

    def test_sqlite_lets_nothing_expire(self):
        assert list(problems_of({"LIGHTNING_EXPIRE_DAYS": "1"})) == ["LIGHTNING_EXPIRE_DAYS"]
        assert Settings.load({**AZURE, "LIGHTNING_EXPIRE_DAYS": "1"}).expire_days == 1

    @pytest.mark.parametrize(
        ("part", "choice", "spared"),
        [
            ("LIGHTNING_BROKER", "sqlite", "SERVICEBUS_CONNECTION"),
            ("LIGHTNING_STORAGE", "sqlite", "COSMOS_CONNECTION"),
            ("LIGHTNING_LLM", "echo", "OPENAI_API_KEY"),
        ],
    )
    def test_a_part_can_be_forced_off_azure(self, part, choice, spared):
        assert Settings.load({**without(AZURE, spared), part: choice}).mode == "azure"

    def test_a_model_server_never_falls_back_to_echo(self):
        url = "http://127.0.0.1:1/v1"
        assert problems_of({"OPENAI_BASE_URL": url}) == {
            "OPENAI_API_KEY": "it is required by OPENAI_BASE_URL"
        }
        assert list(problems_of({"LIGHTNING_LLM": "openai"})) == ["OPENAI_API_KEY"]
        assert list(problems_of({"LIGHTNING_LLM": "azure-openai"})) == ["OPENAI_BASE_URL"]
        assert Settings.load({"OPENAI_BASE_URL": url, "OPENAI_API_KEY": "x"}).openai_base_url == url

    @pytest.mark.parametrize("name", ["JWT_SIGNING_KEY", "JWT_SIGNING_KEY_PREVIOUS"])
    def test_short_keys(self, name):
        assert "32 bytes" in problems_of({"JWT_SIGNING_KEY": KEY, name: "k" * 31})[name]
        assert Settings.load({"JWT_SIGNING_KEY": KEY, name: "é" * 16})

    def test_a_previous_key_alone(self):
        assert list(problems_of({"JWT_SIGNING_KEY_PREVIOUS": KEY})) == ["JWT_SIGNING_KEY"]

    def test_a_reference_to_the_vault_is_no_secret(self):
        reference = "@Microsoft.KeyVault(VaultName=acme-dev-kv;SecretName=jwt-signing-key)"
        problems = problems_of({"JWT_SIGNING_KEY": reference})
        assert "not looked up" in problems["JWT_SIGNING_KEY"]

    def test_crash_points_are_for_tests(self):
        assert list(problems_of({"LIGHTNING_CRASH_AT": "x"})) == ["LIGHTNING_CRASH_AT"]
        assert list(problems_of({"LIGHTNING_CRASH_AT": "x", "LIGHTNING_TESTING": "0"})) == [
            "LIGHTNING_CRASH_AT"
        ]
        assert Settings.load({"LIGHTNING_CRASH_AT": "x", "LIGHTNING_TESTING": "1"}).crash_at == "x"

    def test_access_tokens_of_a_moment_are_for_tests(self):
        refused = {"LIGHTNING_TOKEN_SECONDS": "input should be greater than or equal to 900"}
        assert problems_of({"LIGHTNING_TOKEN_SECONDS": "899"}) == refused
        assert Settings.load({"LIGHTNING_TOKEN_SECONDS": "900"}).token_seconds == 900
        short = {"LIGHTNING_TOKEN_SECONDS": "2", "LIGHTNING_TESTING": "1"}
        assert Settings.load(short).token_seconds == 2
        assert list(problems_of({**short, "LIGHTNING_TOKEN_SECONDS": "0"})) == ["LIGHTNING_TOKEN_SECONDS"]

    def test_containers_are_apart(self):
        assert list(problems_of({"USER_CONTAINER": "events"})) == ["EVENT_CONTAINER"]

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("LIGHTNING_MODE", "Azure"),
            ("PORT", "65536"),
            ("PORT", "http"),
            ("LIGHTNING_THREADS", "0"),
            ("LIGHTNING_CLAIM_SECONDS", "inf"),
            ("LIGHTNING_SWEEP_SECONDS", "-1"),
            ("NOTIFY_URL", "file:///etc/passwd"),
            ("OPENAI_BASE_URL", "localhost:1"),
            ("NOTIFY_SECRET", "whsec_short"),
            ("NOTIFY_SECRET", "Q0FOQVJZ" * 4),
            ("LIGHTNING_LOG_LEVEL", "loud"),
            ("LIGHTNING_TESTING", "yes"),
        ],
    )
    def test_wrong_values(self, name, value):
        assert list(problems_of({name: value, "OPENAI_API_KEY": "x"})) == [name]

    def test_misspelt_names(self):
        message = problems_of({"LIGHTNING_WORKRES": "2", "LIGHTNING_ZZZ": "1", "LIGHTNING_PORT": "1"})
        assert message["LIGHTNING_WORKRES"] == "there is no such setting; did you mean LIGHTNING_WORKERS?"
        assert message["LIGHTNING_PORT"].endswith("did you mean PORT?")
        assert message["LIGHTNING_ZZZ"] == "there is no such setting"


class TestErrorText:
    def test_everything_is_told_at_once_without_values(self):
        environ = {
            **without(AZURE, "COSMOS_CONNECTION"),
            "JWT_SIGNING_KEY": "canary-short",
            "NOTIFY_SECRET": "canary-secret",
            "PORT": "canary-port",
            "NOTIFY_URL": "canary://x",
            "LIGHTNING_CANARY": "canary-unknown",
        }
        with pytest.raises(SettingsError) as caught:
            Settings.load(environ)

        text = str(caught.value)
        assert len(caught.value.problems) == len(text.splitlines()) - 1 == 6
        assert "canary" not in text + repr(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__ or caught.value.__context__ is None
        assert "  PORT: " in text
        assert "(for example PORT=8000)" in text
        assert [p.name for p in caught.value.problems][:2] == ["JWT_SIGNING_KEY", "COSMOS_CONNECTION"]


class TestSecrets:
    def test_none_is_shown(self):
        settings = Settings.load({**AZURE, "JWT_SIGNING_KEY_PREVIOUS": KEY[::-1], "NOTIFY_SECRET": SECRET})

        shown = repr(settings) + str(settings) + settings.model_dump_json()
        assert len(settings.secret_values()) == 9
        for secret in settings.secret_values():
            assert secret not in shown

    def test_the_redactor_is_told_the_keys_within(self):
        values = Settings.load({**AZURE, "NOTIFY_SECRET": SECRET}).secret_values()

        secrets = {AZURE[name] for name in AZURE if name.endswith(("_KEY", "_CONNECTION"))}
        assert {SECRET, SECRET.removeprefix("whsec_"), *secrets} <= set(values)
        assert {"Y2FuYXJ5LWJ1cw==", "Y2FuYXJ5LWRi=="} <= set(values)


class TestChildren:
    @pytest.mark.parametrize(
        "environ",
        [
            {},
            AZURE,
            {**AZURE, "LIGHTNING_BROKER": "sqlite"},
            {"LIGHTNING_LLM": "echo", "OPENAI_API_KEY": "x", "LIGHTNING_CLAIM_SECONDS": "0.25", "PORT": "0"},
            {
                "LIGHTNING_TESTING": "1",
                "LIGHTNING_CRASH_AT": "x",
                "NOTIFY_SECRET": SECRET,
                "JWT_SIGNING_KEY": KEY,
            },
        ],
    )
    def test_they_read_the_same(self, environ):
        settings = Settings.load(environ)
        assert Settings.load(settings.to_environ()) == settings

    def test_what_is_inherited_gives_way(self):
        settings = Settings.load({"PORT": "1"})
        environ = settings.to_environ(
            {"PATH": "/bin", "PORT": "2", "OPENAI_API_KEY": "x", "LIGHTNING_OLD": "1"}
        )
        assert environ["PATH"] == "/bin"
        assert Settings.load(environ) == settings

    def test_in_a_process(self):
        settings = Settings.load({"LIGHTNING_THREADS": "3"})
        program = "import os; from lightning.settings import Settings as S; print(S.load(os.environ).threads)"
        run = subprocess.run(
            [sys.executable, "-c", program],
            env=settings.to_environ(os.environ),
            cwd=Path(__file__).parents[3],
            capture_output=True,
            text=True,
            check=True,
        )
        assert run.stdout == "3\n"


def test_a_command_line_goes_before_the_environment(monkeypatch):
    monkeypatch.setenv("PORT", "1")
    monkeypatch.setenv("LIGHTNING_THREADS", "3")
    settings = from_environment(PORT=2, LIGHTNING_THREADS=None)
    assert (settings.port, settings.threads) == (2, 3)


def test_the_table_has_a_line_for_each():
    rows = settings_table().splitlines()

    assert rows[:2] == ["| Variable | Default | Meaning |", "|---|---|---|"]
    assert len(rows) == 2 + len(Settings.model_fields)
    assert all(row.count("|") == 4 for row in rows)
    assert "| `OPENAI_MODEL` | `gpt-3.5-turbo` | Model that answers chats |" in rows


def test_every_example_would_do():
    for field in Settings.model_fields.values():
        example = str((field.examples or [""])[0]).replace("$(openssl rand -hex 32)", "0" * 64)
        example = example.replace("$(openssl rand -base64 32)", "A" * 43 + "=")
        name = str(field.validation_alias)
        base = {} if name == "LIGHTNING_MODE" else {**AZURE, **REGISTRY}
        assert Settings.load({**base, "LIGHTNING_TESTING": "1", name: example})


class TestTheCollector:
    def test_headers_are_read_as_opentelemetry_writes_them(self):
        text = " Authorization=Bearer%20canary-of-headers, x-tenant = a%3Db ,"
        settings = Settings.load({"OTEL_EXPORTER_OTLP_HEADERS": text})
        values = {"authorization": "Bearer canary-of-headers", "x-tenant": "a=b"}
        assert settings.otlp_header_values() == values
        # and each value is a secret, as it is sent and as it is set
        assert {*values.values(), text} <= set(settings.secret_values())
        assert "canary" not in repr(settings)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("OTEL_EXPORTER_OTLP_HEADERS", "canary"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "canary name=x"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "x=canary%0d%0ay:1"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "canary:4318"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ],
    )
    def test_what_could_not_be_sent_is_refused(self, name, value):
        assert "canary" not in problems_of({name: value})[name]


@pytest.mark.parametrize("token", ["canary", "canary with a blank in it", "canary-with-a-bell\x07-in-it"])
def test_a_token_for_metrics_that_could_be_guessed_or_not_be_sent_is_refused(token):
    assert "canary" not in problems_of({"LIGHTNING_METRICS_TOKEN": token})["LIGHTNING_METRICS_TOKEN"]
