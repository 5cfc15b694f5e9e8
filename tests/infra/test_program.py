"""What the Pulumi program declares holds the policies and agrees with the code; wrong ones are noticed."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from api.chat.installed import INSTALL, is_installed
from brokers import open_broker, queue_names
from infra.policy import of_kind, settings_of, violations
from lightning.client import Client
from lightning.settings import Settings, SettingsError
from lightning.storage.cosmos_account import indexing_policy
from lightning.storage.port import CONTAINERS
from ops.azure.rules import ALERTS, RUNBOOKS
from ops.chaos.installation import until
from ops.deployment import files
from ops.emulation import SERVICES
from ops.ports import free_port
from tests.architecture.tree import ROOT

GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
LIGHTNING = Path(sys.executable).with_name("lightning")
PYTHON = ROOT / ".venv-infra" / "bin" / "python"

#: Settings that Azure and OpenTelemetry read, not we.
OF_OTHERS = {"WEBSITES_PORT", "WEBSITES_ENABLE_APP_SERVICE_STORAGE", "OTEL_TRACES_SAMPLER"}
#: Application Insights, which is emulated too, and knows no identity.
OF_TELEMETRY = {"APPLICATIONINSIGHTS_CONNECTION_STRING", "LIGHTNING_MONITOR_IDENTITY"}

WORKBOOK = "operations.workbook.json"

#: What App Service puts where a reference to the vault stands.
SECRETS = {
    "JWT_SIGNING_KEY": "0" * 64,
    "JWT_SIGNING_KEY_PREVIOUS": "1" * 64,
    "LIGHTNING_SECRET_KEY": "2" * 64,
    "LIGHTNING_SECRET_KEY_PREVIOUS": "3" * 64,
    "NOTIFY_SECRET": "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
    "ACI_REGISTRY_PASSWORD": "pull-password",
    "OPENAI_API_KEY": "sk-canary",
    "CHAINLIT_AUTH_SECRET": "4" * 64,
}
PROCESSES = ("web", "worker", "clock", "chat")

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def recorded():
    assert PYTHON.exists(), "infra/ has an environment of its own: run make infra"
    run = subprocess.run(
        [PYTHON, "-m", "tests.infra.programs"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-4000:]
    return json.loads(run.stdout)


def named(resources, kind):
    return dict(of_kind(resources, kind))


def environment(site):
    """The environment of an app's process, once App Service has looked up what is in the vault."""
    return {
        name: SECRETS[name] if "KeyVault" in value else value for name, value in settings_of(site).items()
    }


def test_every_stack_holds_the_policies(recorded):
    assert {stack: violations(found, stack) for stack, found in recorded["stacks"].items()} == {
        "dev": [],
        "prod": [],
    }
    assert violations(recorded["first"], "dev") == []
    assert violations(recorded["moved"], "prod") == []
    assert violations(recorded["without chat"], "dev") == []


@pytest.mark.parametrize(
    ("program", "says"),
    [
        ("old_tls", "only_tls: account takes older TLS"),
        ("plain_http", "only_tls: account takes plain http"),
        ("site_in_clear", "only_tls: site takes plain http"),
        ("site_old_tls", "only_tls: site takes older TLS"),
        ("site_ftp", "only_tls: site takes FTP"),
        ("public_blob", "no_public_blob: account"),
        ("public_blob_unsaid", "no_public_blob: account"),
        ("open_container", "no_public_blob: blobs is public"),
        ("shared_key", "no_shared_keys: account"),
        ("shared_key_unsaid", "no_shared_keys: account"),
        ("bus_with_keys", "no_shared_keys: bus"),
        ("store_with_keys", "no_shared_keys: store"),
        ("telemetry_with_keys", "no_shared_keys: telemetry"),
        ("registry_with_admin", "no_shared_keys: registry"),
        ("key_in_clear", "in clear: JWT_SIGNING_KEY"),
        ("connection_string", "in clear: SOMETHING"),
        ("no_such_secret", "a secret that is not in the vault"),
        ("no_tags", "tagged: account (StorageAccount) lacks the tags environment"),
        ("tags_of_another", "tagged: account is tagged as one of dev"),
        ("vault_forgets", "recoverable: vault forgets"),
        ("vault_forgets", "recoverable: vault can be purged"),
        ("blobs_forgotten", "recoverable: account forgets"),
        ("store_with_keys", "recoverable: store has no continuous backup"),
        ("open_to_all", "private: account is reached from everywhere"),
        ("no_endpoint", "private: account has no private endpoint"),
        ("name_too_long", "named_well: account"),
        ("name_with_hyphen", "named_well: account"),
        ("bus_name_reserved", "named_well: bus"),
        ("owner", "least_privilege: may"),
        ("role_of_everything", "least_privilege: role"),
        ("runs_let_out", "runs_are_held: rules-runs"),
        ("isolated_let_out", "runs_are_held: rules-isolated"),
        ("site_sleeps", "kept_running: site is put to sleep"),
        ("site_unasked", "kept_running: site is not asked"),
        ("nothing_protected", "protected: nothing keeps"),
        ("nothing_protected", "protected: nobody is told"),
    ],
)
def test_a_wrong_program_is_noticed(recorded, program, says):
    assert [text for text in violations(recorded["wrong"][program], "prod") if says in text]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ("word", "2 to 10 small letters and digits"),
        ("long word", "2 to 10 small letters and digits"),
        ("environment", "name the stack dev, staging, prod"),
        ("model", "must be one of openai, azure-openai"),
        ("no second region", "no lightning:secondLocation is set"),
        ("no start of the budget", 'pulumi config set budgetStart "$(date +%Y-%m-01)"'),
        ("serverless twice", "leave lightning:secondLocation out"),
        ("no secret", "pulumi config set --secret KEY, for each of jwtSigningKey openaiApiKey"),
        ("no endpoint", "lightning:openaiBaseUrl must be set"),
        ("no key of the chat", "pulumi config set --secret KEY, for each of chatSecret"),
        ("no tag", "lightning:image must be named by its tag"),
    ],
)
def test_settings_of_a_stack_that_do_not_fit_are_refused(recorded, settings, says):
    assert says in recorded["refused"][settings]


def test_what_is_known_of_the_code_is_current():
    assert {name: (ROOT / name).read_text() for name in files()} == files(), "run make docs"


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_the_queues_are_those_of_the_code(recorded, stack):
    queues = [
        each for name, each in of_kind(recorded["stacks"][stack], "servicebus:Queue") if name[-2:] != "-2"
    ]
    # Pulumi declares side by side what does not depend on each other, so the order is by chance
    assert sorted(each["queueName"] for each in queues) == sorted(queue_names("lightning"))
    [properties] = {tuple(sorted((k, v) for k, v in each.items() if "Name" not in k)) for each in queues}
    assert dict(properties) | {"maxSizeInMegabytes": 0} == {
        "lockDuration": f"PT{Settings.load({}).lease_seconds:g}S",
        "maxDeliveryCount": 10,
        "requiresDuplicateDetection": False,
        "requiresSession": False,
        "deadLetteringOnMessageExpiration": False,
        "maxSizeInMegabytes": 0,
    }


def test_the_containers_are_those_of_the_code(recorded):
    made = named(recorded["stacks"]["prod"], "cosmosdb:SqlResourceSqlContainer")
    assert {each["containerName"] for each in made.values()} == set(CONTAINERS)
    for each in made.values():
        resource = each["resource"]
        assert resource["partitionKey"]["paths"] == ["/userID"]
        assert resource["defaultTtl"] == -1
        assert resource["indexingPolicy"] == indexing_policy(CONTAINERS[each["containerName"]])


def test_one_region_writes_and_the_second_reads(recorded):
    orders = {}
    for name, resources in {**recorded["stacks"], "moved": recorded["moved"]}.items():
        [account] = named(resources, "cosmosdb:DatabaseAccount").values()
        assert account["enableMultipleWriteLocations"] is False
        assert account["consistencyPolicy"] == {"defaultConsistencyLevel": "Session"}
        serverless = account.get("capabilities") == [{"name": "EnableServerless"}]
        [database] = named(resources, "cosmosdb:SqlResourceSqlDatabase").values()
        assert serverless == (name == "dev") != ("autoscaleSettings" in database.get("options", {}))
        orders[name] = [each["locationName"] for each in account["locations"]]
    assert orders == {
        "dev": ["westeurope"],
        "prod": ["westeurope", "northeurope"],
        "moved": ["northeurope", "westeurope"],
    }


def test_the_apps_of_one_region_work_at_a_time(recorded):
    for resources, working in ((recorded["stacks"]["prod"], ""), (recorded["moved"], "-2")):
        enabled = {name: site["enabled"] for name, site in of_kind(resources, "web:WebApp")}
        assert set(enabled) == {f"{name}{end}" for name in PROCESSES for end in ("", "-2")}
        assert {name for name, is_on in enabled.items() if is_on} == {
            f"{name}{working}" for name in PROCESSES
        }


def test_nothing_of_the_apps_is_made_before_there_are_images(recorded):
    assert named(recorded["first"], "web:WebApp") == {}
    assert named(recorded["first"], "containerregistry:Registry") != {}


def test_the_processes_are_those_of_the_procfile(recorded):
    lines = [line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines()]
    for stack, resources in recorded["stacks"].items():
        sites = named(resources, "web:WebApp")
        assert {n: s["siteConfig"]["appCommandLine"] for n, s in sites.items() if n[-2:] != "-2"} == dict(
            lines
        )
        slots = named(resources, "web:WebAppSlot")
        assert {s["slot"] for s in slots.values()} == (set() if stack == "dev" else {"next"})
        images = {
            n: s["siteConfig"]["linuxFxVersion"].rpartition("/")[2] for n, s in {**sites, **slots}.items()
        }
        assert {n for n, image in images.items() if image == "chat:0.0.0"} == {
            n for n in images if "chat" in n
        }
        assert set(images.values()) == {"lightning:0.0.0", "chat:0.0.0"}


def test_people_reach_the_ingress_and_the_chat_which_knows_them_by_its_instance(recorded):
    sites = {
        **named(recorded["stacks"]["prod"], "web:WebApp"),
        **named(recorded["stacks"]["prod"], "web:WebAppSlot"),
    }
    assert {n.split("-")[0] for n, s in sites.items() if s["publicNetworkAccess"] == "Enabled"} == {
        "web",
        "chat",
    }
    assert {n.split("-")[0] for n, s in sites.items() if s["clientAffinityEnabled"]} == {"chat"}
    assert {s["siteConfig"]["numberOfWorkers"] for n, s in sites.items() if "chat" in n} == {1}
    assert all(s["siteConfig"]["webSocketsEnabled"] for s in sites.values())


def test_a_stack_may_be_without_the_chat(recorded):
    without = recorded["without chat"]
    assert not [each["name"] for each in without if "chat" in each["name"]]
    left = {
        name: inputs for name, inputs in of_kind(recorded["stacks"]["dev"], "web:WebApp") if name != "chat"
    }
    assert dict(of_kind(without, "web:WebApp")) == left


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_what_is_for_programs_beside_the_platform_is_empty_and_held_to_the_policies(recorded, stack):
    resources = recorded["stacks"][stack]
    topics = {each["topicName"] for name, each in of_kind(resources, "servicebus:Topic")}
    [share] = named(resources, "storage:FileShare").values()
    containers = {each["containerName"] for _, each in of_kind(resources, "storage:BlobContainer")}
    assert (topics, share["shareName"], containers) == (
        {"lightning-events"},
        "repositories",
        {"exports", "outputs"},
    )
    # nobody of the platform may use the account
    scopes = [each["scope"] for _, each in of_kind(resources, "authorization:RoleAssignment")]
    assert not [scope for scope in scopes if "storageAccounts" in scope]


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_the_settings_of_the_apps_are_those_of_the_platform(recorded, stack):
    known = {str(field.validation_alias) for field in Settings.model_fields.values()}
    resources = recorded["stacks"][stack]
    secrets = {each["secretName"] for _, each in of_kind(resources, "keyvault:Secret")}
    names = set()
    chats = []
    for name, site in of_kind(resources, "web:WebApp", "web:WebAppSlot"):
        if name.startswith("chat"):
            chats.append(site)
            continue
        environ = environment(site)
        assert environ.keys() - known == OF_OTHERS
        names.add(frozenset(environ))
        # each secret of the vault is read by a setting, and each reference leads to one
        written = settings_of(site).values()
        assert set(re.findall(r"SecretName=([\w-]+)\)", " ".join(written))) == secrets - {
            "chainlit-auth-secret"
        }
        settings = Settings.load(environ)
        parts = (settings.broker, settings.storage, settings.runner, settings.llm)
        assert parts == ("servicebus", "cosmos", "aci", "openai")
        # nobody signs in by a key
        assert (settings.servicebus_connection, settings.cosmos_connection) == (None, None)
        broker = open_broker(settings)
        assert broker._open_namespace().host == settings.servicebus_namespace
        broker.close()
    assert len(names) == 1  # all processes have the same settings, but for the chat
    assert len(chats) == (1 if stack == "dev" else 4)
    for site in chats:
        environ = environment(site)
        assert environ.keys() - known == OF_OTHERS - {"OTEL_TRACES_SAMPLER"}
        settings = Settings.load(environ)
        url = f"https://acme-{stack}-web{site['name'].removeprefix(f'acme-{stack}-chat')}.azurewebsites.net"
        assert (settings.chat_api, settings.public_url) == (url, url)
        # of all secrets it has its own
        assert settings.secret_values() == [SECRETS["CHAINLIT_AUTH_SECRET"]]


@pytest.mark.parametrize(
    "needed",
    ["JWT_SIGNING_KEY", "SERVICEBUS_NAMESPACE", "COSMOS_ENDPOINT", "WORKER_IMAGE", "LIGHTNING_PUBLIC_URL"],
)
def test_a_setting_that_is_missing_would_be_noticed(recorded, needed):
    [site] = [each for name, each in of_kind(recorded["stacks"]["prod"], "web:WebApp") if name == "web"]
    environ = {name: value for name, value in environment(site).items() if name != needed}
    with pytest.raises(SettingsError):
        Settings.load(environ)


def test_each_process_may_do_what_it_does_and_no_more(recorded):
    resources = recorded["stacks"]["prod"]
    sender, receiver = "69a216fc-b8fb-44d8-bc22-1f3c2cd27a39", "4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0"
    may = {process: set() for process in PROCESSES}
    for name, each in of_kind(resources, "authorization:RoleAssignment"):
        process = name.split("-")[1]
        if name.endswith("-2"):
            continue
        may[process].add((each["roleDefinitionId"].rpartition("/")[2], Path(each["scope"]).name))
    # the ingress looks at every queue, for which it needs the role of a receiver on each
    for process in ("web", "worker", "clock"):
        assert {each for each in may[process] if each[0] in (sender, receiver)} == {
            (sender, "acme-prod-bus"),
            (receiver, "acme-prod-bus"),
        }
    # the chat reads its own secret, and pulls its image
    pull, read = "7f951dda-4ed3-4680-a7ca-43fe172d538d", "4633458b-17de-408a-b874-0445c86b69e6"
    assert may["chat"] == {(pull, "acmeprodacr"), (read, "chainlit-auth-secret")}
    [data] = [{name.split("-")[1] for name, _ in of_kind(resources, "cosmosdb:SqlResourceSqlRoleAssignment")}]
    assert data == {"web", "worker", "clock"}
    # and those that start containers may do so among the runs, and join their subnets
    own = {process: {on for role, on in found if not GUID.fullmatch(role)} for process, found in may.items()}
    assert own["web"] == own["chat"] == set()
    assert own["worker"] == own["clock"] == {"acme-prod-runs", "runs", "isolated"}


def test_the_pull_token_pulls_agents_and_does_nothing_else(recorded):
    [scope] = named(recorded["stacks"]["prod"], "containerregistry:ScopeMap").values()
    assert scope["actions"] == ["repositories/agents/content/read", "repositories/agents/metadata/read"]


def test_the_worker_grows_with_every_queue_that_is_not_bulk(recorded):
    assert named(recorded["stacks"]["dev"], "monitor:AutoscaleSetting") == {}
    scaling = named(recorded["stacks"]["prod"], "monitor:AutoscaleSetting")["scaling"]
    [profile] = scaling["profiles"]
    watched = [
        rule["metricTrigger"]["dimensions"][0]["values"][0]
        for rule in profile["rules"]
        if rule["metricTrigger"]["metricName"] == "ActiveMessages"
    ]
    assert watched == [name for name in queue_names("lightning") if not name.endswith("-bulk")]
    assert profile["capacity"] == {"minimum": "2", "maximum": "10", "default": "2"}


def _command(pid: str) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
        return []


def child_of(parent: int, module: str) -> int | None:
    """Find the process that a process has started for a module, or as a copy that runs it."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    found = [int(pid) for pid in children if module in _command(pid)]
    return found[0] if found else None


def settings_of_process(process: int) -> Settings:
    """Read the settings of a process as they stand in its environment, where it is no copy of another."""
    pairs = Path(f"/proc/{process}/environ").read_text().rstrip("\0").split("\0")
    return Settings.load(dict(pair.split("=", 1) for pair in pairs))


def start_anew(parent: int, module: str) -> int:
    """Have a process started anew, by an interpreter of its own, as there is nothing to copy."""
    killed = child_of(parent, module)
    for each in (child_of(parent, "worker.nursery"), killed):
        assert each is not None
        os.kill(each, signal.SIGKILL)
    until(lambda: child_of(parent, module) not in {None, killed}, f"{module} is started anew")
    started = child_of(parent, module)
    assert started is not None
    return started


def healthy(port: int) -> bool:
    try:
        return httpx2.get(f"http://127.0.0.1:{port}/api/health", trust_env=False).status_code == 200
    except httpx2.TransportError:
        return False


def differences(one: Settings, other: Settings) -> set[str]:
    fields = Settings.model_fields.items()
    return {str(f.validation_alias) for name, f in fields if getattr(one, name) != getattr(other, name)}


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_operators_have_the_workbook_and_are_told_by_every_alert(recorded, stack):
    [workbook] = named(recorded["stacks"][stack], "applicationinsights:Workbook").values()
    assert json.loads(workbook["serializedData"]) == json.loads(
        (ROOT / "ops" / "azure" / WORKBOOK).read_text()
    )
    rules = named(recorded["stacks"][stack], "monitor:ScheduledQueryRule").values()
    assert {rule["displayName"] for rule in rules} == {alert.name for alert in ALERTS}
    by_name = {alert.name: alert for alert in ALERTS}
    for rule in rules:
        alert = by_name[rule["displayName"]]
        [condition] = rule["criteria"]["allOf"]
        assert (condition["query"], condition["threshold"]) == (alert.query(), alert.threshold)
        assert (condition["operator"], condition["timeAggregation"]) == ("GreaterThan", "Count")
        assert (rule["windowSize"], rule["evaluationFrequency"]) == (alert.window, alert.frequency)
        assert (rule["severity"], rule["enabled"], len(rule["actions"]["actionGroups"])) == (
            alert.severity,
            True,
            1,
        )
        assert RUNBOOKS in rule["description"]


def test_emulated_azure_starts_with_the_settings_of_an_app(recorded, tmp_path):
    if not is_installed():
        pytest.skip(INSTALL)
    # Given the settings of the ingress and of the chat, but for the services that are emulated, and where
    # they listen
    sites = named(recorded["stacks"]["prod"], "web:WebApp")
    written, of_chat = environment(sites["web"]), environment(sites["chat"])
    here = {"LIGHTNING_HOST", "PORT", "LIGHTNING_DATA"}
    elsewhere = {*SERVICES, *here, "NOTIFY_URL", *OF_TELEMETRY, "LIGHTNING_TRUSTED_PROXIES"}
    given = {name: value for name, value in written.items() if name not in elsewhere}
    chat_port = free_port()
    given |= {
        "CHAINLIT_AUTH_SECRET": of_chat["CHAINLIT_AUTH_SECRET"],
        "LIGHTNING_CHAT_PORT": str(chat_port),
        "LIGHTNING_TRUSTED_PROXIES": f"{written['LIGHTNING_TRUSTED_PROXIES']},127.0.0.1",
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LIGHTNING_")}
    port = free_port()
    place = ["--port", str(port), "--data", str(tmp_path / "data")]
    # When it runs on this machine
    with (tmp_path / "log").open("w+") as log:
        process = subprocess.Popen(
            [LIGHTNING, "up", "--emulate-azure", "--chat", *place],
            env={**kept, **given},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            first = tmp_path / "data" / "first_user.json"
            until(
                lambda: (
                    (first.exists() and "first user" in (tmp_path / "log").read_text())
                    or process.poll() is not None
                ),
                "it is up",
                seconds=120,
            )
            assert process.poll() is None, (tmp_path / "log").read_text()
            # Then its processes have these settings and no others, but for what is emulated
            running = settings_of_process(start_anew(process.pid, "api.main"))
            known_to_up = {"LIGHTNING_CHAT_API", "LIGHTNING_CHAT_PORT", "CHAINLIT_AUTH_SECRET"}
            assert differences(Settings.load(written), running) == {
                *elsewhere,
                *known_to_up,
                "ACI_ISOLATED_SUBNET",
            }
            chat = settings_of_process(child_of(process.pid, "api.chat.main") or 0)
            assert differences(Settings.load(of_chat), chat) == {*here, "LIGHTNING_CHAT_API"}
            until(lambda: healthy(port), "it is up again")
            # And what is posted is done, through queues and containers as they are deployed
            with Client(f"http://127.0.0.1:{port}") as client:
                account = json.loads(first.read_text())
                client.log_in(account["username"], account["password"])
                over = client.wait(client.send("user.message", {"content": "Here I am"}))
                assert over["state"] == "done"
                # And whoever comes to the chat through a proxy is known to the ingress by their address
                until(lambda: healthy(chat_port), "the chat is up", seconds=60)
                through = {"x-forwarded-proto": "https", "x-forwarded-for": "203.0.113.9:50000"}
                url = f"http://127.0.0.1:{chat_port}"
                login = httpx2.post(
                    f"{url}/chat/login", data=account, headers={"origin": url, **through}, trust_env=False
                )
                assert login.status_code == 200, login.text
                assert login.headers["set-cookie"].endswith("; Secure")
                sessions = httpx2.get(
                    f"http://127.0.0.1:{port}/api/sessions", headers=client.headers(), trust_env=False
                )
                assert "203.0.113.9" in {each["address"] for each in sessions.json()["sessions"]}
        finally:
            process.terminate()
            status = process.wait(60)
    assert status == 0
