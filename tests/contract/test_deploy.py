"""What stands in ``deploy/`` equals the code: variables, ports, commands, metric names."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase
from typer.main import get_command

from bongsu.cli.app import Service, app
from bongsu.sandbox import DEFAULT_API_KEY, DEFAULT_API_SECRET, DEFAULT_CHANNEL, DEFAULT_SENDER, DEFAULT_WEBHOOK_SECRET
from bongsu.sandbox.__main__ import read_arguments
from services.metrics.domain import SLOTS
from services.metrics.handlers import show
from services.metrics.reports import AWAITING_FALLBACK
from shared.config import load_config
from shared.contracts.states import MessageState
from shared.settings import ServiceSettings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
OVERLAYS = ("dev", "production")
PORTS = {"ingest": 8000, "dispatcher": 8001, "fallback": 8002, "metrics": 8003, "sandbox": 8009}
"""those of the design"""

Manifest = dict[str, Any]


# -- rendering -------------------------------------------------------------------------------------------------------


@cache
def rendered(overlay: str) -> list[Manifest]:
    """Return what is applied: by kubectl where there is one, else by the little of kustomize that is used here."""
    directory = DEPLOY / "k8s" / "overlays" / overlay
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        return render(directory)
    made = subprocess.run([kubectl, "kustomize", str(directory)], check=True, capture_output=True, text=True)
    return list(yaml.safe_load_all(made.stdout))


def render(directory: Path) -> list[Manifest]:
    """Return the manifests of ``directory``; images, namespaces and hashes in names are left out."""
    plan = yaml.safe_load((directory / "kustomization.yaml").read_text(encoding="utf-8"))
    found: list[Manifest] = []
    for name in plan["resources"]:
        path = directory / name
        found += render(path) if path.is_dir() else list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    for made in plan.get("configMapGenerator", []):
        data = dict(line.split("=", 1) for line in made.get("literals", []))
        data |= {file: (directory / file).read_text(encoding="utf-8") for file in made.get("files", [])}
        found.append({"kind": "ConfigMap", "metadata": {"name": made["name"]}, "data": data})
    for patch in plan.get("patches", []):
        target = patch["target"]
        for manifest in found:
            if manifest["kind"] == target["kind"] and re.fullmatch(
                target.get("name", ".*"), manifest["metadata"]["name"]
            ):
                mend(manifest, patch, directory)
    counts = {each["name"]: each["count"] for each in plan.get("replicas", [])}
    for manifest in found:
        if manifest["kind"] == "Deployment" and manifest["metadata"]["name"] in counts:
            manifest["spec"]["replicas"] = counts[manifest["metadata"]["name"]]
        for labels in plan.get("labels", []):
            label(manifest, labels["pairs"])
    return found


def mend(manifest: Manifest, patch: Manifest, directory: Path) -> None:
    """Do a patch: a file that is merged, or steps."""
    if "path" in patch:
        merge(manifest["spec"], yaml.safe_load((directory / patch["path"]).read_text(encoding="utf-8"))["spec"])
    for step in yaml.safe_load(patch.get("patch", "[]")):
        change(manifest, step)


def label(manifest: Manifest, pairs: dict[str, str]) -> None:
    """Put ``pairs`` on a manifest and on the pods that it makes, and let it look for them."""
    merge(manifest["metadata"], {"labels": pairs})
    match manifest["kind"]:
        case "Deployment":
            merge(manifest["spec"], {"selector": {"matchLabels": pairs}, "template": {"metadata": {"labels": pairs}}})
        case "Job":
            merge(manifest["spec"], {"template": {"metadata": {"labels": pairs}}})
        case "Service":
            merge(manifest["spec"], {"selector": pairs})


def merge(into: Manifest, more: Manifest) -> None:
    """Merge as Kubernetes does, lists of named things by their names."""
    for key, value in more.items():
        if isinstance(value, dict):
            merge(into.setdefault(key, {}), value)
        elif isinstance(value, list):
            mine = into.setdefault(key, [])
            for each in value:
                same = [m for m in mine if isinstance(each, dict) and "name" in each and m.get("name") == each["name"]]
                if same:
                    merge(same[0], each)
                else:
                    mine.append(each)
        else:
            into[key] = value


def change(manifest: Manifest, step: Manifest) -> None:
    """Do one step of a JSON patch (RFC 6902)."""
    holder, key = at(manifest, step["path"])
    match step["op"]:
        case "test":
            assert holder[key] == step["value"]
        case "remove":
            del holder[key]
        case "move":
            source, name = at(manifest, step["from"])
            holder.insert(key, source.pop(name))
        case other:
            raise AssertionError(other)


def at(manifest: Manifest, pointer: str) -> tuple[Any, Any]:
    """Return what holds ``pointer``, and its key there."""
    *way, last = [int(part) if part.isdigit() else part for part in pointer.split("/")[1:]]
    holder: Any = manifest
    for part in way:
        holder = holder[part]
    return holder, last


def of(overlay: str, kind: str) -> dict[str, Manifest]:
    """Return the manifests of ``kind``, by name."""
    return {each["metadata"]["name"]: each for each in rendered(overlay) if each["kind"] == kind}


def containers(overlay: str) -> Iterator[tuple[str, Manifest, Manifest]]:
    """Yield each container with the name of what runs it and its pod."""
    for kind in ("Deployment", "Job"):
        for name, manifest in of(overlay, kind).items():
            pod = manifest["spec"]["template"]["spec"]
            for container in [*pod.get("initContainers", []), *pod["containers"]]:
                yield name, pod, container


def config_map(overlay: str, name: str) -> dict[str, str]:
    """Return the data of a generated map, whatever hash its name ends with."""
    (data,) = [m["data"] for n, m in of(overlay, "ConfigMap").items() if re.fullmatch(rf"{name}(-[a-z0-9]{{10}})?", n)]
    return dict(data)


def variables(overlay: str, container: Manifest) -> dict[str, str]:
    """Return what the environment of ``container`` has, a secret's value as where it is."""
    found: dict[str, str] = {}
    for each in container.get("envFrom", []):
        if "configMapRef" in each:
            name = re.sub(r"-[a-z0-9]{10}$", "", each["configMapRef"]["name"])
            found |= config_map(overlay, name)
    for each in container.get("env", []):
        secret = each.get("valueFrom", {}).get("secretKeyRef")
        found[each["name"]] = f"{secret['name']}/{secret['key']}" if secret else each["value"]
    return found


def settings_of(service: str) -> type[ServiceSettings]:
    settings: type[ServiceSettings] = importlib.import_module(f"services.{service}.settings").Settings
    return settings


# -- manifests -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(DEPLOY.rglob("*.yaml")), ids=lambda path: str(path.relative_to(DEPLOY)))
def test_every_file_is_yaml_of_known_kind(path: Path) -> None:
    for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
        assert isinstance(document, dict)
        assert path.name == "bongsu.yaml" or {"apiVersion", "kind"} <= document.keys()


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_plain_renderer_agrees(overlay: str) -> None:
    """Where there is no kubectl the other tests look at this: it must not be another system."""
    plain = render(DEPLOY / "k8s" / "overlays" / overlay)

    def shape(manifests: list[Manifest]) -> dict[tuple[str, str], object]:
        found: dict[tuple[str, str], object] = {}
        for each in manifests:
            spec = each.get("spec", {})
            pod = spec.get("template", {}).get("spec", {})
            commands = [container["args"] for container in pod.get("containers", [])]
            name = re.sub(r"-[a-z0-9]{10}$", "", each["metadata"]["name"])
            found[each["kind"], name] = (spec.get("replicas"), spec.get("selector"), commands, sorted(pod))
        return found

    assert shape(plain) == shape(rendered(overlay))


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_service_runs_on_its_port(overlay: str) -> None:
    deployments, services = of(overlay, "Deployment"), of(overlay, "Service")
    assert set(Service) <= deployments.keys()
    for name, manifest in deployments.items():
        template = manifest["spec"]["template"]
        (container,) = template["spec"]["containers"]
        assert container["ports"] == [{"name": "http", "containerPort": PORTS[name]}]
        assert [(p["port"], p["targetPort"]) for p in services[name]["spec"]["ports"]] == [(PORTS[name], "http")]
        if name in set(Service):
            assert container["args"] == ["serve", name]
            assert settings_of(name).model_fields["port"].default == PORTS[name]
            assert template["metadata"]["annotations"]["prometheus.io/port"] == str(PORTS[name])
            assert template["metadata"]["annotations"]["prometheus.io/path"] == "/metrics"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_variable_is_a_setting_of_some_service_and_required_ones_are_set(overlay: str) -> None:
    everything = {f"BONGSU_{field}".upper() for service in Service for field in settings_of(service).model_fields}
    for name, _, container in containers(overlay):
        given = variables(overlay, container)
        assert given.keys() <= everything, name
        if name in set(Service):
            fields = settings_of(name).model_fields
            required = {f"BONGSU_{field}".upper() for field, info in fields.items() if info.is_required()}
            assert required <= given.keys(), name
            assert given["BONGSU_HOST"] == "0.0.0.0"  # noqa: S104 - a pod is reached by its own address
            assert given["BONGSU_DATABASE_URL"] == "bongsu/database-url"
            assert given["BONGSU_ENCRYPTION_KEYS"] == "bongsu/encryption-keys"


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("service", Service)
def test_the_settings_take_what_is_given(overlay: str, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    (container,) = [c for name, _, c in containers(overlay) if name == service]
    key = "A" * 43 + "="
    secrets = {
        "BONGSU_DATABASE_URL": "postgresql://someone@postgres/bongsu",
        "BONGSU_ENCRYPTION_KEYS": f"person:{key},one:{key}",
    }
    for name, value in (variables(overlay, container) | secrets).items():
        monkeypatch.setenv(name, value)
    settings = settings_of(service)()
    assert settings.port == PORTS[service]
    assert bool(settings.kafka_bootstrap_servers) == (overlay == "production")
    (mount,) = [each for each in container["volumeMounts"] if each["name"] == "config"]
    assert settings.config == Path(mount["mountPath"]) / "bongsu.yaml"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_configuration_loads(overlay: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = config_map(overlay, "bongsu-config")["bongsu.yaml"]
    wanted = set(re.findall(r"\$\{(\w+)\}", text))
    readme = (DEPLOY / "README.md").read_text(encoding="utf-8")
    for name in wanted:
        assert f"`{name}`" in readme
        monkeypatch.setenv(name, "something")
    path = tmp_path / "bongsu.yaml"
    path.write_text(text, encoding="utf-8")
    assert load_config(path).profiles
    for name, _, container in containers(overlay):
        if name in set(Service):
            secrets = [each["secretRef"]["name"] for each in container["envFrom"] if "secretRef" in each]
            assert secrets == (["bongsu-dealers"] if wanted else [])


def test_the_dev_configuration_is_the_sandbox_s_account(tmp_path: Path) -> None:
    path = tmp_path / "bongsu.yaml"
    path.write_text(config_map("dev", "bongsu-config")["bongsu.yaml"], encoding="utf-8")
    config = load_config(path)
    credentials = {name: value.get_secret_value() for name, value in config.dealers["solapi"].credentials.items()}
    assert credentials == {
        "api_key": DEFAULT_API_KEY,
        "api_secret": DEFAULT_API_SECRET,
        "webhook_secret": DEFAULT_WEBHOOK_SECRET,
    }
    shop = config.profiles["shop"]
    assert shop.routes[0].sender_key == DEFAULT_CHANNEL
    assert shop.text is not None
    assert shop.text.sender == DEFAULT_SENDER
    assert config.dealers["solapi"].base_url == f"http://sandbox:{PORTS['sandbox']}/solapi"
    (container,) = [c for name, _, c in containers("dev") if name == "sandbox"]
    command, *arguments = container["args"]
    assert command == "sandbox"
    settings = read_arguments(arguments)
    assert settings.port == PORTS["sandbox"]
    assert settings.webhook_url == f"http://dispatcher:{PORTS['dispatcher']}/v1/receipts/solapi"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_container_is_probed_and_confined(overlay: str) -> None:
    for name, pod, container in containers(overlay):
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["runAsUser"] == 10001
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
        assert "memory" in container["resources"]["limits"]
        if name != "setup":
            assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "http"}
            assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}


@pytest.mark.parametrize(
    ("overlay", "commands"), [("dev", ["migrate"]), ("production", ["migrate", "topics"])], ids=OVERLAYS
)
def test_the_setup_job_migrates_then_makes_topics(overlay: str, commands: list[str]) -> None:
    found = [(container, *container["args"]) for name, _, container in containers(overlay) if name == "setup"]
    assert [command for _, command, *_ in found] == commands
    known = get_command(app)
    for container, command, *options in found:
        parameters = {option: p for p in known.commands[command].params for option in p.opts}  # type: ignore[attr-defined]  # a group's
        assert {option for option in options if option.startswith("--")} <= parameters.keys()
        required = {str(p.envvar) for p in parameters.values() if p.required}
        assert required <= variables(overlay, container).keys()


def test_production_survives_a_node() -> None:
    for name, budget in of("production", "PodDisruptionBudget").items():
        deployment = of("production", "Deployment")[name]
        assert deployment["spec"]["replicas"] >= 2
        assert budget["spec"]["selector"] == deployment["spec"]["selector"]  # kustomize gives a budget none
    assert of("production", "PodDisruptionBudget").keys() == set(Service)


# -- the image -------------------------------------------------------------------------------------------------------


def test_the_image_installs_the_lock_with_hashes_and_is_not_root() -> None:
    lines = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").splitlines()
    text = "\n".join(lines)
    assert "--require-hashes" in text
    assert "requirements/runtime.lock" in text
    assert [line.split()[1] for line in lines if line.startswith("FROM")] == ["python:3.11-slim"] * 2
    assert "USER 10001:10001" in lines
    for line in lines:
        if line.startswith("COPY") and "--from" not in line:
            assert (ROOT / line.split()[1]).exists()


# -- the dashboard ---------------------------------------------------------------------------------------------------

TELEMETRY = sorted([*ROOT.glob("services/*/telemetry.py"), *ROOT.glob("shared/*/telemetry.py")])
_SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}


@cache
def samples() -> dict[str, set[str]]:
    """Return the samples that our services show, each with its labels."""
    for path in TELEMETRY:
        importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    found: dict[str, set[str]] = {}
    for collector in list(REGISTRY._collector_to_names):  # noqa: SLF001 - labels without values are told nowhere else
        if not isinstance(collector, MetricWrapperBase):
            continue  # the process's own
        labels = set(collector._labelnames)  # noqa: SLF001 - likewise
        for family in collector.describe():
            if family.name.startswith("bongsu_"):
                for suffix in _SUFFIXES[family.type]:
                    found[family.name + suffix] = labels | ({"le"} if suffix == "_bucket" else set())
    return found


@cache
def panels() -> list[Manifest]:
    board = json.loads((DEPLOY / "grafana" / "bongsu.json").read_text(encoding="utf-8"))
    return list(board["panels"])


def queries() -> Iterator[tuple[str, str]]:
    """Yield the title of each panel with each query."""
    for panel in panels():
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]


_FUNCTIONS = {
    "sum", "max", "by", "rate", "increase", "vector", "or", "and", "topk", "histogram_quantile", "time", "min", "on",
    "ignoring", "unless", "without", "clamp_min",
}  # fmt: skip


def test_every_metric_in_the_dashboard_is_in_the_code_with_its_labels() -> None:
    assert len(TELEMETRY) >= 7
    asked = list(queries())
    assert asked
    for title, query in asked:
        plain = re.sub(r'"[^"]*"', '""', query)
        names = set(re.findall(r"\bbongsu_\w+", plain))
        assert names, title
        assert names <= samples().keys(), title
        labels = set().union(*(samples()[name] for name in names))
        words = set(re.findall(r"[a-z_]\w*", re.sub(r"\[[^\]]*\]", "", plain))) - names - _FUNCTIONS
        assert words <= labels, title
    for panel in panels():
        for target in panel.get("targets", []):
            shown = set(re.findall(r"{{(\w+)}}", target.get("legendFormat") or ""))
            grouped = {word for part in re.findall(r"by \(([^)]*)\)", target["expr"]) for word in part.split(", ")}
            assert shown <= grouped, panel["title"]


def test_the_dashboard_shows_what_the_design_asks_for() -> None:
    shown = {name for _, query in queries() for name in re.findall(r"bongsu_\w+", query)}
    assert {
        "bongsu_metrics_messages",  # funnel, delivered share
        "bongsu_metrics_failures",  # by reason
        "bongsu_metrics_cost_krw",
        "bongsu_metrics_pending",
        "bongsu_metrics_attempts",  # uncertain
        "bongsu_metrics_lag_seconds",
        "bongsu_metrics_slot_sent",
        "bongsu_metrics_slot_delivered",
        "bongsu_metrics_slot_failed",
    } <= shown


def test_the_funnel_has_every_state() -> None:
    (funnel,) = [panel for panel in panels() if panel["title"] == "Funnel"]
    states = [re.findall(r'state="(\w+)"', target["expr"]) for target in funnel["targets"]]
    assert sorted(state for (state,) in states) == sorted({*MessageState, AWAITING_FALLBACK} - {MessageState.ACCEPTED})


def test_the_heatmaps_have_24_times_7_cells() -> None:
    show([], [], [], {})
    cells = {
        (sample.labels["weekday"], sample.labels["hour"])
        for family in REGISTRY.collect()
        if family.name == "bongsu_metrics_slot_sent"
        for sample in family.samples
    }
    assert len(cells) == SLOTS == 24 * 7
    assert len({day for day, _ in cells}) == 7
    maps = [panel for panel in panels() if any("bongsu_metrics_slot_" in t["expr"] for t in panel.get("targets", []))]
    assert len(maps) == 2
    for panel in maps:
        assert [target["format"] for target in panel["targets"]] == ["table"]
        matrix = panel["transformations"][-1]
        assert matrix["id"] == "groupingToMatrix"
        fields = {name: matrix["options"][name] for name in ("columnField", "rowField")}
        assert fields == {"columnField": "hour", "rowField": "weekday"}
        assert panel["fieldConfig"]["defaults"]["custom"]["cellOptions"]["type"] == "color-background"


def test_no_two_panels_lie_on_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        spot = panel["gridPos"]
        cells = {
            (x, y) for x in range(spot["x"], spot["x"] + spot["w"]) for y in range(spot["y"], spot["y"] + spot["h"])
        }
        assert not cells & taken, panel["title"]
        assert spot["x"] + spot["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in panels()}) == len(panels())
