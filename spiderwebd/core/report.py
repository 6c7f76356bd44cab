from spiderwebd.work.report import *  # shim
