"""A rank that an engine has started (`lampc.backend.parallel.launch`): not to be called by hand."""

from lampc.backend.parallel.process import main

if __name__ == "__main__":
    main()
