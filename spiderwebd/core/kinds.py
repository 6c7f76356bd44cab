from spiderwebd.work.kinds import *  # shim
