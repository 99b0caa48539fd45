"""Which addresses that people entered the hub asks: a hostile table, and the few that are well."""

from ipaddress import ip_address

import pytest

from devices import addresses

HOSTILE = [
    "",
    "hooks.example.org",
    "//hooks.example.org/",
    "ftp://hooks.example.org/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:6379/_FLUSHALL",
    "javascript:alert(1)",
    "dict://127.0.0.1:11211/",
    "https:/hooks.example.org/",
    "https://",
    "https:///etc",
    "https://user@hooks.example.org/",
    "https://hooks.example.org@127.0.0.1/",
    "https://hooks.example.org:80@127.0.0.1/",
    "https://127.0.0.1\\@hooks.example.org/",
    "https://hooks.example.org\\.evil/",
    "https://hooks.example.org#@127.0.0.1/",
    "https://hooks.example.org/#part",
    "https://hooks.example.org/\r\nHost: localhost",
    "https://hooks.example.org/a b",
    " https://hooks.example.org/",
    "https://hooks.example.org/\n",
    "https://hooks.example.org\t/",
    "https://hooks%2eexample.org/",
    "https://%31%32%37.0.0.1/",
    "https://127.1/",
    "https://2130706433/",
    "https://0x7f.1/",
    "https://0x7f000001/",
    "https://0177.0.0.1/",
    "https://127.0.0.01/",
    "https://127.0.0.1./",
    "https://localhost./",
    "https://hooks..example.org/",
    "https://.example.org/",
    "https://-hooks.example.org/",
    "https://127.0.0.0x1/",
    "https://256.0.0.1/",
    "https://1.2.3.4.5/",
    "https://①②⑦.0.0.1/",
    "https://127。0。0。1/",
    "https://ｌｏｃａｌｈｏｓｔ/",
    "https://hööks.example.org/",
    "https://[::1%25lo]/",
    "https://[::1%lo]/",
    "https://[127.0.0.1]/",
    "https://[::1/",
    "https://::1/",
    "https://[]/",
    "https://hooks.example.org:/",
    "https://hooks.example.org:0/",
    "https://hooks.example.org:65536/",
    "https://hooks.example.org:٤٤٣/",
    "https://hooks.example.org:+443/",
    "https://" + "a." * 127 + "org/",
    "https://hooks.example.org/" + "a" * 2048,
]


@pytest.mark.parametrize("url", HOSTILE)
def test_what_could_be_read_in_two_ways_is_refused(url: str) -> None:
    with pytest.raises(addresses.Refused):
        addresses.read(url)


@pytest.mark.parametrize(
    ("url", "place", "authority"),
    [
        ("https://hooks.example.org", ("https", "hooks.example.org", 443, "/"), "hooks.example.org"),
        ("HTTP://Hooks.Example.ORG/A?b=c@d", ("http", "hooks.example.org", 80, "/A?b=c@d"), "hooks.example.org"),
        ("http://192.0.2.1:8080/a", ("http", "192.0.2.1", 8080, "/a"), "192.0.2.1:8080"),
        ("https://[2606:4700:0:0::1]?x", ("https", "2606:4700::1", 443, "/?x"), "[2606:4700::1]"),
        (
            "https://xn--hks-snaa.example/%C3%B6",
            ("https", "xn--hks-snaa.example", 443, "/%C3%B6"),
            "xn--hks-snaa.example",
        ),
        ("https://a_b.example.org:443/", ("https", "a_b.example.org", 443, "/"), "a_b.example.org"),
    ],
)
def test_what_is_plain_is_read(url: str, place: tuple[str, str, int, str], authority: str) -> None:
    read = addresses.read(url)
    assert (tuple(read), read.authority) == (place, authority)


INSIDE = [
    *("127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1"),
    *("169.254.169.254", "169.254.0.1", "100.64.0.1", "100.100.100.200", "192.0.0.192", "198.18.0.1", "192.0.2.1"),
    *("198.51.100.1", "203.0.113.1", "192.88.99.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255"),
    *("168.63.129.16", "::", "::1", "fe80::1", "fe80::1%eth0", "fec0::1", "fc00::1", "fd00:ec2::254", "ff02::1"),
    *("::ffff:127.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::a00:1"),
    *(
        "2002:7f00:1::1",
        "2002:808:808::1",
        "2001::1",
        "2001:0:808:808::",
        "2001:db8::1",
        "3fff::1",
        "100::1",
        "5f00::1",
    ),
]


@pytest.mark.parametrize("inside", INSIDE)
def test_what_is_not_one_machine_of_the_internet_is_not_public(inside: str) -> None:
    assert not addresses.public(ip_address(inside))


@pytest.mark.parametrize("outside", ["1.1.1.1", "8.8.8.8", "93.184.216.34", "172.32.0.1", "2606:4700::1111", "2a00::1"])
def test_others_are(outside: str) -> None:
    assert addresses.public(ip_address(outside))


@pytest.mark.parametrize(
    ("url", "found", "refused"),
    [
        ("https://hooks.example.org/", ["93.184.216.34"], ""),
        ("https://hooks.example.org/", ["93.184.216.34", "127.0.0.1"], "not on the public internet"),
        ("https://hooks.example.org:8443/", ["93.184.216.34"], ""),
        ("https://hooks.example.org:25/", ["93.184.216.34"], "Port 25 is none of 80, 443, 8080, 8443"),
        ("http://alerts.internal:9000/", ["10.0.0.7"], ""),
        ("http://alerts.internal/", ["10.0.0.7"], "HUB_OUTGOING=alerts.internal:80"),
        ("http://alerts.internal.evil.example:9000/", ["10.0.0.7"], "is none of"),
        ("http://10.0.0.7:9000/", ["10.0.0.7"], "is none of"),
    ],
)
def test_an_inner_place_is_allowed_by_its_name_and_port_alone(url: str, found: list[str], refused: str) -> None:
    said = ""
    try:
        addresses.check(addresses.read(url), map(ip_address, found), {("alerts.internal", 9000)})
    except addresses.Refused as error:
        said = str(error)
    assert refused in said
    assert bool(refused) == bool(said)
