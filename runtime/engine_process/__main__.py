"""An engine that another process drives (`lampc.runtime.engine_process.client`): not to be called by hand."""

import sys

from lampc.runtime.engine_process.worker import main

if __name__ == "__main__":
    main(int(sys.argv[1]))
