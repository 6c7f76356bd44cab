from spiderwebd.work.rules import *  # shim
