from spiderwebd.work.outcome import *  # shim
