"""URLs of webhooks: one strict form."""

import pytest

from lightning.errors import InvalidEvent
from lightning.outbound import Guard, Target, read_url


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://example.com", Target("https", "example.com", 443, "/")),
        ("HTTPS://Example.COM/A?b=c", Target("https", "example.com", 443, "/A?b=c")),
        ("https://example.com:8443/x", Target("https", "example.com", 8443, "/x")),
        ("https://example.com?q=@x:1", Target("https", "example.com", 443, "/?q=@x:1")),
        ("https://xn--bcher-kva.example/", Target("https", "xn--bcher-kva.example", 443, "/")),
        ("https://8.8.8.8/", Target("https", "8.8.8.8", 443, "/")),
        ("https://[2606:4700::1111]:8443/", Target("https", "2606:4700::1111", 8443, "/")),
    ],
)
def test_a_url_is_taken_apart(url, target):
    assert read_url(url, Guard()) == target


@pytest.mark.parametrize(
    ("target", "authority"),
    [
        (Target("https", "example.com", 443, "/"), "example.com"),
        (Target("https", "example.com", 8443, "/"), "example.com:8443"),
        (Target("http", "2606:4700::1111", 8080, "/"), "[2606:4700::1111]:8080"),
    ],
)
def test_the_host_header(target, authority):
    assert target.authority == authority


@pytest.mark.parametrize(
    "url",
    [
        "", "example.com", "//example.com", "http://example.com/", "ftp://example.com/", "file:///etc/passwd",
        "https:///x", "https://", "https://user@example.com/", "https://user:pw@example.com/",
        "https://example.com@evil.example/", "https://example.com\\@evil.example/", "https://example.com#x",
        "https://example.com/#x", "https://example.com:/x", "https://example.com:0/", "https://example.com:22/",
        "https://example.com:80/", "https://example.com:65536/", "https://example.com:4 43/",
        "https://exa mple.com/", " https://example.com/", "https://example.com/\n",
        "https://example.com/\r\nX: y",
        "https://example.com./", "https://.example.com/", "https://example..com/", "https://-x.example/",
        "https://bücher.example/", "https://example.com/ü", "https://2130706433/", "https://0x7f000001/",
        "https://0177.0.0.1/", "https://127.1/", "https://127.0.0.1./", "https://0x7f.0.0.1/", "https://1.2.3/",
        "https://127.0.0.256/", "https://[127.0.0.1]/", "https://[::1/", "https://[::g]/", "https://[fe80::1%25eth0]/",
        "https://%31%32%37.0.0.1/", "https://a" + "b" * 2048 + "/", "https://" + "a" * 64 + ".example/",
    ],
)  # fmt: skip
def test_what_is_not_of_that_form_is_refused(url):
    with pytest.raises(InvalidEvent) as refused:
        read_url(url, Guard())
    assert (refused.value.code, refused.value.pointer) == ("invalid_url", "/url")


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/",
        "https://10.0.0.1:8443/",
        "https://169.254.169.254/",
        "https://[::1]/",
        "https://[::ffff:7f00:1]/",
        "https://[fd00:ec2::254]/",
    ],
)
def test_a_literal_address_that_is_not_public_is_refused(url):
    with pytest.raises(InvalidEvent) as refused:
        read_url(url, Guard())
    assert refused.value.code == "address_refused"


def test_an_exempt_host_may_be_plain_and_have_any_port():
    guard = Guard.allowing("127.0.0.1,hooks.internal")
    assert read_url("http://127.0.0.1:81/x", guard) == Target("http", "127.0.0.1", 81, "/x")
    assert read_url("http://hooks.internal/", guard) == Target("http", "hooks.internal", 80, "/")
    with pytest.raises(InvalidEvent):
        read_url("http://127.0.0.2/", guard)
    with pytest.raises(InvalidEvent):
        read_url("http://example.com/", guard)
