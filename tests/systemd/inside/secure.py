"""In the box: ask the daemon over TLS whether it lives; exit 1 unless its certificate is the one given."""

import http.client
import ssl
import sys

context = ssl.create_default_context(cafile=sys.argv[1])
link = http.client.HTTPSConnection("localhost", 18790, timeout=20, context=context)
try:
    link.request("GET", "/livez")
    sys.exit(link.getresponse().status != 200)
except ssl.SSLError as error:
    print(error, file=sys.stderr)
    sys.exit(1)
