"""What a protocol says of where the code comes from."""

import pytest

from hymarl.app.protocol import _without_secrets


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://me:token@host.example/team/x.git", "https://host.example/team/x.git"),
        ("https://host.example:8443/x?private_token=abc#y", "https://host.example:8443/x"),
        ("git@host.example:team/x.git", "host.example:team/x.git"),
        ("../elsewhere", "../elsewhere"),
    ],
)
def test_the_address_of_a_remote_tells_no_secret(url, shown):
    assert _without_secrets(url) == shown
