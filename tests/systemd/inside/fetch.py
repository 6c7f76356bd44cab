"""In the box, in the place of curl, which a minimal Debian lacks: fetch a URL over a unix socket.

fetch.py --silent --unix-socket PATH URL
"""

import argparse
import http.client
import socket
import sys
from urllib.parse import urlsplit

parser = argparse.ArgumentParser()
parser.add_argument("--silent", action="store_true")
parser.add_argument("--unix-socket", required=True)
parser.add_argument("url")
options = parser.parse_args()
url = urlsplit(options.url)
link = http.client.HTTPConnection(url.netloc, timeout=20)
link.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
link.sock.connect(options.unix_socket)
link.request("GET", url.path)
answer = link.getresponse()
sys.stdout.write(answer.read().decode())
sys.exit(answer.status != 200)
