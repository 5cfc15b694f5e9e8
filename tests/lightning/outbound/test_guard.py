"""The address guard: what is public, by every form of an address."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning.outbound import Guard
from lightning.outbound.guard import is_public

NOT_PUBLIC = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.127.255.255", "127.0.0.1",
    "127.255.0.1", "169.254.0.1", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.8",
    "192.0.2.1", "192.88.99.1", "192.168.0.1", "198.18.0.1", "198.19.255.255", "198.51.100.7",
    "203.0.113.9", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "168.63.129.16",
    "::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1",
    "100::1", "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:db8::1", "2002:7f00:1::",
    "2002:808:808::1", "2620:4f:8000::1", "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fdff::1",
    "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "ff0e::1",
]  # fmt: skip

PUBLIC = [
    "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "168.63.129.15",
    "172.15.255.255", "172.32.0.0", "192.167.255.255", "198.17.255.255", "198.20.0.0", "223.255.255.255",
    "2001:4860:4860::8888", "2606:4700::1111", "2003::1", "2a00:1450::1",
]  # fmt: skip


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_what_is_not_public_is_refused(address):
    assert not is_public(ip_address(address))
    assert not Guard().permits("example.com", ip_address(address))


@pytest.mark.parametrize("address", PUBLIC)
def test_what_is_public_is_permitted(address):
    assert is_public(ip_address(address))
    assert Guard().permits("example.com", ip_address(address))


@given(st.ip_addresses())
def test_nothing_that_the_standard_library_calls_special_is_public(address):
    if is_public(address):
        assert address.is_global
        assert not address.is_multicast
        assert not address.is_link_local


@given(st.ip_addresses(v=4), st.sampled_from(["::ffff:{}", "64:ff9b::{}", "::{}"]))
def test_no_ipv6_form_of_an_ipv4_address_is_public(address, form):
    assert not is_public(ip_address(form.format(address)))


def test_the_operator_exempts_hosts_and_networks():
    guard = Guard.allowing("hooks.internal, 10.1.0.0/16,127.0.0.1, fd12::/16")
    # a network for every name that leads there
    assert guard.permits("anything.example", ip_address("10.1.2.3"))
    assert guard.permits("anything.example", ip_address("::ffff:10.1.2.3"))
    assert guard.permits("127.0.0.1", ip_address("127.0.0.1"))
    assert guard.permits("v6.example", ip_address("fd12::1"))
    # a name for every address that it has
    assert guard.permits("hooks.internal", ip_address("192.168.7.7"))
    # and nothing else
    assert not guard.permits("other.internal", ip_address("192.168.7.7"))
    assert not guard.permits("anything.example", ip_address("10.2.0.1"))
    assert not guard.permits("127.0.0.2", ip_address("127.0.0.2"))


@pytest.mark.parametrize(
    "address",
    ["169.254.169.254", "::ffff:169.254.169.254", "168.63.129.16", "fd00:ec2::254", "0.0.0.0", "ff02::1"],
)
def test_nobody_exempts_metadata_services_by_a_name(address):
    assert not Guard.allowing("hooks.internal").permits("hooks.internal", ip_address(address))


@pytest.mark.parametrize(
    "text",
    [
        "169.254.169.254",
        "0.0.0.0/0",
        "::/0",
        "169.0.0.0/8",
        "fd00::/8",
        "168.63.129.16/32",
        "10.0.0.1/8",
        "-x",
        "http://a",
        "0x7f.1",
        "1",
    ],
)
def test_what_must_not_be_exempt_or_is_no_host_is_refused(text):
    with pytest.raises(ValueError, match=r"metadata|no host name"):
        Guard.allowing(text)
