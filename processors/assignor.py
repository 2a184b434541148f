"""What each worker held, and who is there now -> who gets which partitions: as few move as may be.

    before   A: 0 1 2 3 4 5     B: 6 7 8 9 10 11
    C joins  A: 0 1 2 3         B: 6 7 8 9           C: 4 5 10 11
    A leaves                    B: 6 7 8 9 0 1       C: 4 5 10 11 2 3

Each topic is shared evenly, and so is the sum over all topics, where all workers read the same ones. With one
topic nothing moves that need not; with several, now and then, one partition more, for the sake of the sum.

Faust's own assignor fills workers up to the rounded-up mean: of 12 partitions a fifth worker gets none while
four have three each, and tenants of one partition each all go to one worker. aiokafka's sticky one keeps what
a member held on the class, which all consumers of a process share, and never learns its generation.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice, permutations
from typing import Any

from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from faust.assignor.client_assignment import ClientAssignment, ClientMetadata
from faust.assignor.partition_assignor import PartitionAssignor

Numbers = dict[str, list[int]]
"""By topic, numbers of partitions in ascending order."""
Quotas = dict[str, dict[str, int]]
"""By topic and member, how many partitions."""


@dataclass(frozen=True, slots=True)
class Member:
    """A worker that takes part: what it reads, and what it held last, since which round."""

    topics: frozenset[str]
    held: Mapping[str, frozenset[int]]
    round: int


class _Metadata(ClientMetadata, serializer="json", include_metadata=False, namespace="@ClientMetadata"):
    """What Faust's workers tell each other, and the round; one that does not know of rounds ignores it."""

    round: int = 0


class StickyAssignor(PartitionAssignor):
    """Faust's assignor with another rule, in the same words: workers with either rule can be in one group.

    A second protocol beside Faust's would not do: aiokafka 0.14 asks to join once for each that it is given,
    and each request begins another rebalance. Who leads the group gives the assignment the number after the
    highest that any member knows, so that what a frozen worker held counts less than what others have now.
    """

    _round = 0

    @property
    def _metadata(self) -> ClientMetadata:
        return _metadata_of(self._assignment, str(self._url), self._topic_groups, self._round)

    def _perform_assignment(self, cluster: Any, member_metadata: Mapping[str, Any]) -> dict[str, Any]:
        said = {name: _Metadata.loads(sent.user_data) for name, sent in member_metadata.items()}
        members = {
            name: Member(frozenset(sent.subscription), _held_last(said[name]), said[name].round)
            for name, sent in member_metadata.items()
        }
        topics = sorted({topic for member in members.values() for topic in member.topics})
        known = {topic: sorted(cluster.partitions_for_topic(topic) or ()) for topic in topics}
        next_round = 1 + max(member.round for member in members.values())
        return {
            name: self._told(ClientAssignment(actives=given, standbys={}), said[name].url, topics, next_round)
            for name, given in share(known, members).items()
        }

    def _told(self, given: ClientAssignment, url: str, topics: list[str], number: int) -> Any:
        metadata = _metadata_of(given, url, dict.fromkeys(topics, 0), number)
        listed = sorted(given.actives.items())
        return ConsumerProtocolMemberAssignment(self.version, listed, self._compress(metadata.dumps()))

    def on_assignment(self, assignment: Any) -> None:
        """Remember what we were given. A leader that does not know of rounds gives none: then ours stands."""
        super().on_assignment(assignment)
        self._round = _Metadata.loads(self._decompress(assignment.user_data)).round or self._round


def _metadata_of(given: ClientAssignment, url: str, groups: Mapping[str, int], number: int) -> _Metadata:
    return _Metadata(
        assignment=given,
        url=url,
        changelog_distribution={},
        external_topic_distribution={},
        topic_groups=groups,
        round=number,
    )


def _held_last(said: _Metadata) -> dict[str, frozenset[int]]:
    return {topic: frozenset(numbers) for topic, numbers in said.assignment.actives.items()}


def share(partitions: Mapping[str, list[int]], members: Mapping[str, Member]) -> dict[str, Numbers]:
    """Return who gets which partitions, by member and topic.

    The same for the same arguments, in whatever order they are. A member keeps what it held, up to its quota,
    the lowest numbers first. Of two that claim one partition, the one of the later round held it.
    """
    held = _held(partitions, members)
    quotas = _quotas(partitions, members, held)
    shares: dict[str, Numbers] = {name: {} for name in members}
    for topic, quota in quotas.items():
        kept = {name: held[name][topic][:most] for name, most in quota.items()}
        free = iter(sorted(set(partitions[topic]).difference(*kept.values())))
        for name, most in quota.items():
            if most:
                shares[name][topic] = sorted([*kept[name], *islice(free, most - len(kept[name]))])
    return shares


def _held(partitions: Mapping[str, list[int]], members: Mapping[str, Member]) -> dict[str, Numbers]:
    owners: dict[tuple[str, int], str] = {}
    for name in sorted(members, key=lambda name: (members[name].round, name)):
        claimed = members[name].held
        owners.update({(topic, n): name for topic in members[name].topics for n in claimed.get(topic, ())})
    held: dict[str, Numbers] = {name: {topic: [] for topic in partitions} for name in members}
    for topic, numbers in partitions.items():
        for number in numbers:
            if (topic, number) in owners:
                held[owners[topic, number]][topic].append(number)
    return held


def _quotas(
    partitions: Mapping[str, list[int]], members: Mapping[str, Member], held: Mapping[str, Numbers]
) -> Quotas:
    """Give each member of a topic the same, and what is left over to those that hold more, or have least."""
    quotas: Quotas = {}
    totals = Counter(dict.fromkeys(members, 0))
    for topic in sorted(partitions):
        takers = sorted(name for name in members if topic in members[name].topics)
        each, over = divmod(len(partitions[topic]), len(takers))
        wants = {name: (len(held[name][topic]) <= each, totals[name]) for name in takers}
        first = set(sorted(takers, key=wants.__getitem__)[:over])
        quotas[topic] = {name: each + (name in first) for name in takers}
        totals.update(quotas[topic])
    for topic, full, empty in _uneven(quotas, totals, held):
        quotas[topic][full] -= 1
        quotas[topic][empty] += 1
        totals.update({full: -1, empty: 1})
    return quotas


def _uneven(
    quotas: Quotas, totals: Mapping[str, int], held: Mapping[str, Numbers]
) -> Iterator[tuple[str, str, str]]:
    """Yield a topic, who has one too many of it and who one too few, until the sums are even.

    The caller changes what it passed before it asks for the next: those first that let most stay where it is.
    """

    def cost(topic: str, full: str, empty: str) -> int:
        lost = len(held[full][topic]) >= quotas[topic][full]
        gained = len(held[empty][topic]) > quotas[topic][empty]
        return lost - gained

    while swaps := [
        (cost(topic, full, empty), totals[empty] - totals[full], topic, full, empty)
        for topic, quota in quotas.items()
        for full, empty in permutations(quota, 2)
        if quota[full] > quota[empty] and totals[full] > totals[empty] + 1
    ]:
        yield min(swaps)[2:]
