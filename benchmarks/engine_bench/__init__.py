"""The engine against other engines: same weights, same requests, same machine, one run (`make bench-engine`)."""
