"""Hit ratios of libcachesim's policies: policies.py TRACE CAPACITY..., prints `capacity policy ratio byte-ratio`."""

import sys

import libcachesim as simulator

# Neither those that know the future nor those that take minutes: docs/decisions/0025-what-leaves-memory.md.
POLICIES = [
    "LRU", "LFU", "ARC", "SLRU", "TwoQ", "LIRS", "S3FIFO", "Sieve", "WTinyLFU", "GDSF", "Clock2QPlus",
]


def reader(path):
    parameters = simulator.ReaderInitParam(
        has_header=False, has_header_set=True, delimiter=",", obj_id_is_num=True, obj_id_is_num_set=True
    )
    parameters.time_field, parameters.obj_id_field, parameters.obj_size_field = 1, 2, 3
    return simulator.TraceReader(path, simulator.TraceType.CSV_TRACE, parameters)


for capacity in map(int, sys.argv[2:]):
    for policy in POLICIES:
        misses, byte_misses = getattr(simulator, policy)(capacity).process_trace(reader(sys.argv[1]))
        print(capacity, policy, 1 - misses, 1 - byte_misses, flush=True)
