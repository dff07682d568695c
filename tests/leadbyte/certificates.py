"""Two self-signed certificates for servers on loopback, valid until 2120; they guard nothing.

Kept as text, since neither `openssl` nor a library that makes certificates can be counted on. Made with `openssl ca
-selfsign`, extensions: CA:TRUE, digitalSignature, keyCertSign, a subject key identifier and the names below.
"""

from __future__ import annotations

import ssl
from pathlib import Path

# Names: 127.0.0.1, localhost.
FITTING = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg2qzznPrK5ObFCFbw
GNKN67v1fsEdXOgP++vzHyxP6fyhRANCAATVikH8TECoBHoa+1F8szsIvgPgw5El
9+TRqrlzvjg0b/920Xy/OLGEhceH8g7NIjAxaxGM3KCAMdagic5Vog/h
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBeDCCAR2gAwIBAgIBATAKBggqhkjOPQQDAjAUMRIwEAYDVQQDDAlnb29kLnRl
c3QwIBcNMjAwMTAxMDAwMDAwWhgPMjEyMDAxMDEwMDAwMDBaMBQxEjAQBgNVBAMM
CWdvb2QudGVzdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABNWKQfxMQKgEehr7
UXyzOwi+A+DDkSX35NGquXO+ODRv/3bRfL84sYSFx4fyDs0iMDFrEYzcoIAx1qCJ
zlWiD+GjXjBcMA8GA1UdEwEB/wQFMAMBAf8wDgYDVR0PAQH/BAQDAgKEMB0GA1Ud
DgQWBBQvZ3SdhJeqxdGAoSHh+aKLPSPJ1DAaBgNVHREEEzARhwR/AAABgglsb2Nh
bGhvc3QwCgYIKoZIzj0EAwIDSQAwRgIhAJ2PBRS9S0QQWqWQIlb38OEeXuqR62Yb
6rUiTExgEcriAiEAqBxh8wdlfXnTFeAH8XgkOo3Y3DiPBKTN1s1VeFgDQHU=
-----END CERTIFICATE-----
"""

# Name: elsewhere.invalid.
OTHER_NAME = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgq55fq/2/PezYRJ4h
zW8I2KmJkbt9laL27by7tHDnGZ6hRANCAATQ9qWsr7aNc+QJozNKp2ZV1H7SA8Wc
UFyI9NZkkzt1XYuINjwN2mRfxFGX7fRu+oJogyCgf25i4CpscGd4EoGW
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBfDCCASGgAwIBAgIBATAKBggqhkjOPQQDAjAVMRMwEQYDVQQDDApvdGhlci50
ZXN0MCAXDTIwMDEwMTAwMDAwMFoYDzIxMjAwMTAxMDAwMDAwWjAVMRMwEQYDVQQD
DApvdGhlci50ZXN0MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE0PalrK+2jXPk
CaMzSqdmVdR+0gPFnFBciPTWZJM7dV2LiDY8DdpkX8RRl+30bvqCaIMgoH9uYuAq
bHBneBKBlqNgMF4wDwYDVR0TAQH/BAUwAwEB/zAOBgNVHQ8BAf8EBAMCAoQwHQYD
VR0OBBYEFJecqhL/n+NfRqUhfoy3Qw+AVW89MBwGA1UdEQQVMBOCEWVsc2V3aGVy
ZS5pbnZhbGlkMAoGCCqGSM49BAMCA0kAMEYCIQDDZnnjdW3XvWY0K/fx/4DrS8JF
4kZhDw10uPlmm3UWkAIhAMfoY3syz+bIWmtr2cmzbwpb5RCy+HTUNHqQ8vn6ZM4M
-----END CERTIFICATE-----
"""


def load_context(folder: Path, pem: str) -> ssl.SSLContext:
    """A server's TLS with this certificate and key."""
    path = folder / "server.pem"
    path.write_text(pem, encoding="ascii")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context
