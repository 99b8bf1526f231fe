"""The numbers that this package and the library share; a test compares them with the library's own."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

# Words of the version table, by their indices: the epoch comes first, then the deadlines of R2, one per database, whose
# indices `Node.database` gives, and after this many words the buckets.
EPOCH: Final = 0
HEADER_WORDS: Final = 72
#: The last words of the table, which Python writes: the hits of the near cache, its entries and their bytes.
NEAR_HITS: Final = -3
NEAR_ITEMS: Final = -2
NEAR_BYTES: Final = -1

#: The databases that one process can serve in its life.
MAX_DATABASES: Final = 64
#: The bytes of a database's id: peers refuse events that name a longer one.
MAX_DATABASE_ID: Final = 256


class Source(IntEnum):
    """Where a value came from."""

    NOWHERE = 0  #: there is none: read the database
    OWN = 1  #: the memory of this process, which owns the key
    HOT = 2  #: this process' copy of a value that another process owns
    PEER = 3  #: the memory of the owner
    DATABASE = 4  #: a load that this request caused
    DEDUPLICATED = 5  #: a load that was under way for another request
    BYPASS = 6  #: the database, read as if there were no cache; the library never answers this


class Missed(IntEnum):
    """Why `Node.get` gives no value."""

    MISS = -1  #: it is not in this process' memory
    BYPASS = -2  #: read the database: the process is bypassing, or the key's bucket is in doubt


class CompletionKind(IntEnum):
    """What a completion is about, and whose number its `id` is."""

    VALUES = 1  #: the answer to a request for values
    LOAD = 2  #: keys to be loaded from the database
    CLEARED = 3  #: an event that all members have acknowledged: COMMIT may be sent
    DATABASE_QUERY = 4  #: a statement on the members table, or about open transactions
    PEER_STATS = 5  #: the answer to a request for the peers' statistics
    LOG = 6  #: a log line
