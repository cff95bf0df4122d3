"""The generated Compose file, without an engine: what is added, what is left out, what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from chaos.backends import composed, image
from chaos.backends.composed import Slice
from chaos.model import Endpoint, Family, Service, Setting, Topology

OURS = {"image": "connect-chaos/node", "command": ["sleep", "infinity"]}
PRODUCT = {"image": "redis:7", "ports": [{"target": 6379, "published": "6379"}], "restart": "always"}


def setting(family: Family = "ipv4", path: Any = "routed") -> Setting:
    return Setting(Topology("shop", "/shop/compose.yaml", {}), family=family, path=path, client="app")


def generated(services: dict[str, Any], family: Family = "ipv4", path: Any = "routed", **more: Any) -> dict[str, Any]:
    config = {"name": "shop", "services": services, **more}
    return composed.generate(config, setting(family, path), Slice(300), {"connect-chaos.run": "r1"}, "p")


def test_a_node_image_carries_its_agent_and_a_product_gets_a_sidecar() -> None:
    made = generated({"app": OURS, "db": PRODUCT})["services"]
    assert set(made) == {"app", "db", "db.agent", "router"}
    assert made["app"]["command"] == ["python3", "-m", "chaos.agent.serve", "app"]
    assert made["app"]["image"] == image.tag()
    assert made["db.agent"]["network_mode"] == "service:db"
    assert "command" not in made["db"]


def test_a_client_of_a_product_can_be_ended_by_its_sidecar() -> None:
    made = generated({"app": PRODUCT, "db": PRODUCT})["services"]
    assert made["app.agent"]["pid"] == "service:app"
    assert made["app.agent"]["cap_add"] == ["NET_ADMIN", "NET_RAW", "KILL", "SYS_PTRACE"]
    assert made["db.agent"]["cap_add"] == ["NET_ADMIN", "NET_RAW"]


def test_a_node_of_ours_that_runs_something_else_is_a_product() -> None:
    serving = {"image": "connect-chaos/node:0.1.0", "command": ["python3", "-m", "http.server"]}
    assert "web.agent" in generated({"web": serving})["services"]


def test_nothing_is_published_and_everything_is_labelled() -> None:
    made = generated({"app": OURS, "db": PRODUCT}, volumes={"data": {"name": "shop_data"}})
    assert all("ports" not in service and "restart" not in service for service in made["services"].values())
    everything = [*made["services"].values(), *made["networks"].values(), *made["volumes"].values()]
    assert all(one["labels"]["connect-chaos.run"] == "r1" for one in everything)
    assert made["volumes"]["data"] == {"labels": {"connect-chaos.run": "r1"}}
    assert made["networks"]["lab"]["internal"] is True


def test_addresses_are_of_the_slice() -> None:
    made = generated({"app": OURS, "db": PRODUCT}, "ipv6")
    assert made["networks"]["lab"]["ipam"]["config"] == [
        {"subnet": "198.19.44.0/24", "gateway": "198.19.44.1"},
        {"subnet": "2001:db8:12c::/64", "gateway": "2001:db8:12c::1:2"},
    ]
    assert made["services"]["db"]["networks"] == {
        "lab": {"ipv4_address": "198.19.44.11", "ipv6_address": "2001:db8:12c::b:2"}
    }
    assert made["services"]["router"]["networks"]["lab"]["ipv4_address"] == "198.19.44.2"


def test_names_from_dns_need_one_more_node_of_ours() -> None:
    there = replace(setting(), names="dns", addresses="both")
    config = {"name": "shop", "services": {"app": OURS, "db": PRODUCT}}
    made = composed.generate(config, there, Slice(300), {}, "p")
    assert set(made["services"]) == {"app", "db", "db.agent", "dns", "router"}
    assert made["services"]["dns"]["networks"]["lab"] == {
        "ipv4_address": "198.19.44.3",
        "ipv6_address": "2001:db8:12c::3:2",
    }
    assert "NET_BIND_SERVICE" in made["services"]["dns"]["cap_add"]
    assert made["networks"]["lab"]["enable_ipv6"]


def test_a_direct_path_has_no_router() -> None:
    assert "router" not in generated({"app": OURS}, path="direct")["services"]


def test_an_image_that_is_built_has_the_name_that_compose_gives_it() -> None:
    assert generated({"app": {"build": {"context": "."}}})["services"]["app"]["image"] == "shop-app"


@pytest.mark.parametrize(
    ("service", "said"),
    [
        ({"network_mode": "host"}, "network_mode `host`"),
        ({"privileged": True}, "`privileged`"),
        ({"container_name": "db"}, "`container_name`"),
        ({"networks": {"back": {"ipv4_address": "10.0.0.5"}}}, "fixed `ipv4_address` in network `back`"),
        ({"volumes": [{"type": "bind", "source": "/srv", "target": "/srv"}]}, "/srv of the host is mounted writable"),
        ({"pid": "host"}, "`pid: host`"),
        ({"volumes_from": ["container:other"]}, "`volumes_from`"),
        ({"use_api_socket": True}, "`use_api_socket`"),
        (
            {"volumes": [{"type": "bind", "source": "/run/docker.sock", "target": "/run/d", "read_only": True}]},
            "/run/docker.sock: who has the engine's socket",
        ),
        ({"devices": ["/dev/kvm"]}, "`devices`"),
        ({"scale": 3}, "3 replicas"),
        ({"deploy": {"replicas": 2}}, "2 replicas"),
    ],
)
def test_what_cannot_be_kept_apart_is_refused_by_name(service: dict[str, Any], said: str) -> None:
    (text,) = composed.refusals({"services": {"db": {"image": "redis:7", **service}}})
    assert text.startswith("service `db`: ")
    assert said in text


@pytest.mark.parametrize("kind", ["networks", "volumes"])
def test_what_is_external_is_refused(kind: str) -> None:
    (text,) = composed.refusals({"services": {}, kind: {"shared": {"name": "shared", "external": True}}})
    assert f"{kind[:-1]} `shared` is external" in text


def test_a_volume_that_is_a_folder_of_the_host_is_refused() -> None:
    volume = {"driver": "local", "driver_opts": {"type": "none", "o": "bind", "device": "/srv"}}
    assert "volume `data` is /srv of the host" in composed.refusals({"services": {}, "volumes": {"data": volume}})[0]


def test_a_toxiproxy_is_started_with_its_api_on_loopback_whatever_its_command_says() -> None:
    proxy = Service("proxy", proxy=(8666, Endpoint("app", 8080)))
    with_proxy = replace(setting(), topology=Topology("shop", "/shop/compose.yaml", {"proxy": proxy}))
    config = {"name": "shop", "services": {"proxy": {"image": "shopify/toxiproxy", "command": ["-host=0.0.0.0"]}}}
    made = composed.generate(config, with_proxy, Slice(0), {}, "p")["services"]
    assert made["proxy"]["command"][:2] == ["-host", "127.0.0.1"]
    assert "proxy.agent" in made


def test_nothing_restarts_by_itself() -> None:
    service = {**PRODUCT, "deploy": {"restart_policy": {"condition": "any"}, "resources": {}}}
    assert generated({"db": service})["services"]["db"]["deploy"] == {"resources": {}}


def test_all_refusals_come_at_once_and_the_harmless_is_let_be() -> None:
    read_only = {"type": "bind", "source": "/etc/db.conf", "target": "/db.conf", "read_only": True}
    harmless = {**PRODUCT, "networks": {"back": None}, "volumes": [read_only, {"type": "volume", "source": "data"}]}
    assert composed.refusals({"services": {"db": harmless}, "networks": {"back": {"name": "shop_back"}}}) == []
    assert len(composed.refusals({"services": {"db": {"privileged": True, "container_name": "x"}}})) == 2
