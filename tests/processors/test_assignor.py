"""Who gets which partitions: everything is read once, the load is even, and little moves."""

from collections.abc import Iterable, Mapping
from random import Random

import faust
import pytest
from aiokafka.cluster import ClusterMetadata
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata
from aiokafka.protocol.metadata import MetadataResponse_v0
from faust.assignor.partition_assignor import PartitionAssignor
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.assignor import Member, Numbers, StickyAssignor, share

TOPIC = "audio.frames"
repeatedly = settings(derandomize=True, max_examples=150, deadline=None)
Shares = dict[str, Numbers]

names = st.lists(st.sampled_from([f"worker-{n}" for n in range(40)]), min_size=1, max_size=9, unique=True)
sizes = st.dictionaries(
    st.sampled_from(["a", "b", "c", "d"]), st.integers(1, 40), min_size=1, max_size=4
).map(lambda counts: {topic: list(range(count)) for topic, count in counts.items()})
one_topic = st.integers(1, 60).map(lambda count: {TOPIC: list(range(count))})


def members(topics: Iterable[str], held: Mapping[str, Numbers], round_: int = 1) -> dict[str, Member]:
    """Return who reads these topics, with what each held in one round."""
    reads = frozenset(topics)
    return {
        name: Member(reads, {topic: frozenset(numbers) for topic, numbers in given.items()}, round_)
        for name, given in held.items()
    }


def fresh(workers: Iterable[str]) -> dict[str, Numbers]:
    """Return workers that held nothing."""
    return {name: {} for name in workers}


def owners(shares: Mapping[str, Numbers]) -> dict[tuple[str, int], str]:
    """Return who has each partition; nobody shares one."""
    listed = [(t, n, name) for name, given in shares.items() for t, numbers in given.items() for n in numbers]
    found = {(topic, number): name for topic, number, name in listed}
    assert len(found) == len(listed), "a partition was given twice"
    return found


def spread(counts: Iterable[int]) -> int:
    """Return how much more the fullest has than the emptiest."""
    found = list(counts)
    return max(found) - min(found)


@st.composite
def claimants(draw: st.DrawFn) -> tuple[Numbers, dict[str, Member]]:
    """Draw topics, and workers that claim anything: others' partitions, old rounds, what is no more."""
    partitions = draw(sizes)
    numbers = st.frozensets(st.integers(0, 60), max_size=30)
    held = st.dictionaries(st.sampled_from([*partitions, "gone"]), numbers, max_size=5)
    claims = st.builds(Member, st.just(frozenset(partitions)), held, st.integers(0, 5))
    found = {name: draw(claims) for name in draw(names)}
    return partitions, found


@repeatedly
@given(claimants())
def test_each_partition_is_given_once_and_each_topic_and_the_sum_are_even(
    drawn: tuple[Numbers, dict[str, Member]],
) -> None:
    partitions, there = drawn
    shares = share(partitions, there)
    assert set(owners(shares)) == {(topic, n) for topic, numbers in partitions.items() for n in numbers}
    for topic in partitions:
        assert spread(len(given.get(topic, [])) for given in shares.values()) <= 1
    assert spread(sum(map(len, given.values())) for given in shares.values()) <= 1


@repeatedly
@given(claimants(), st.randoms())
def test_the_order_in_which_members_and_topics_are_told_decides_nothing(
    drawn: tuple[Numbers, dict[str, Member]], random: Random
) -> None:
    partitions, there = drawn
    mixed_members, mixed_topics = list(there.items()), list(partitions.items())
    random.shuffle(mixed_members)
    random.shuffle(mixed_topics)
    assert share(dict(mixed_topics), dict(mixed_members)) == share(partitions, there)


@repeatedly
@given(claimants())
def test_nothing_moves_where_nothing_has_changed(drawn: tuple[Numbers, dict[str, Member]]) -> None:
    partitions, there = drawn
    shares = share(partitions, there)
    assert share(partitions, members(partitions, shares)) == shares


@repeatedly
@given(one_topic, names, st.data())
def test_a_worker_that_joins_gets_its_share_and_nothing_else_moves(
    partitions: Numbers, workers: list[str], data: st.DataObject
) -> None:
    new = data.draw(st.sampled_from(["0-first", "worker-20x", "z-last"]))
    before = share(partitions, members(partitions, fresh(workers)))
    after = share(partitions, members(partitions, {**before, new: {}}))
    had, has = owners(before), owners(after)
    moved = {place for place in has if has[place] != had[place]}
    assert {has[place] for place in moved} <= {new}
    even = len(partitions[TOPIC]) // (len(workers) + 1)
    assert len(moved) in (even, even + 1)


@repeatedly
@given(one_topic, names.filter(lambda found: len(found) > 1), st.data())
def test_what_a_worker_leaves_behind_is_shared_and_nothing_else_moves(
    partitions: Numbers, workers: list[str], data: st.DataObject
) -> None:
    gone = data.draw(st.sampled_from(workers))
    before = share(partitions, members(partitions, fresh(workers)))
    left = {name: given for name, given in before.items() if name != gone}
    had, has = owners(before), owners(share(partitions, members(partitions, left)))
    assert {place for place in has if has[place] != had[place]} == {
        p for p, name in had.items() if name == gone
    }


@repeatedly
@given(one_topic, names.filter(lambda found: len(found) > 1), st.data())
def test_what_a_worker_held_before_it_was_frozen_counts_for_nothing_against_those_that_took_it_over(
    partitions: Numbers, workers: list[str], data: st.DataObject
) -> None:
    frozen = data.draw(st.sampled_from(workers))
    before = share(partitions, members(partitions, fresh(workers), 0))
    left = members(partitions, {name: given for name, given in before.items() if name != frozen}, 1)
    meanwhile = share(partitions, left)
    there = {**members(partitions, meanwhile, 2), **members(partitions, {frozen: before[frozen]}, 1)}
    had, has = owners(meanwhile), owners(share(partitions, there))
    assert {has[place] for place in has if has[place] != had[place]} <= {frozen}


@repeatedly
@given(st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=6), st.integers(1, 12))
def test_a_worker_is_given_only_what_it_reads(reads: list[str], count: int) -> None:
    there = {f"w{n}": Member(frozenset({topic}), {}, 0) for n, topic in enumerate(reads)}
    partitions = {topic: list(range(count)) for topic in set(reads)}
    shares = share(partitions, there)
    assert len(owners(shares)) == count * len(partitions)
    for name, given_ in shares.items():
        assert set(given_) <= there[name].topics


def test_tenants_with_few_partitions_do_not_all_go_to_the_same_workers() -> None:
    partitions = {f"tenant-{n}": [0, 1] for n in range(6)}
    shares = share(partitions, members(partitions, fresh(["a", "b", "c", "d"])))
    assert {name: sum(map(len, given.values())) for name, given in shares.items()} == dict.fromkeys("abcd", 3)


# -- in a group, as aiokafka asks ---------------------------------------------------------------------------


def cluster(partitions: int) -> ClusterMetadata:
    """Return what a broker told of one topic."""
    metadata = ClusterMetadata()
    listed = [(0, number, 1, [1], [1]) for number in range(partitions)]
    metadata.update_metadata(MetadataResponse_v0([(1, "broker", 9092)], [(0, TOPIC, listed)]))
    return metadata


class Group:
    """The members of a group; what they say to each other goes over the wire."""

    def __init__(self, partitions: int, **rules: type[PartitionAssignor]) -> None:
        app = faust.App("group", store="memory://")
        self.members = {name: rule(app, replicas=1) for name, rule in rules.items()}
        self._cluster = cluster(partitions)

    def rebalance(self, leader: str) -> Shares:
        """Have one of them share the partitions among those that are there."""
        sent = {
            name: ConsumerProtocolMemberMetadata.decode(assignor.metadata({TOPIC}).encode())
            for name, assignor in self.members.items()
        }
        given = self.members[leader].assign(self._cluster, sent)
        shares: Shares = {}
        for name, assignor in self.members.items():
            received = ConsumerProtocolMemberAssignment.decode(given[name].encode())
            assignor.on_assignment(received)
            shares[name] = {topic: sorted(numbers) for topic, numbers in received.assignment}
        return shares


@pytest.mark.parametrize("leader", ["a", "b", "c"])
def test_two_consumers_of_one_process_do_not_take_each_others_partitions_for_their_own(leader: str) -> None:
    group = Group(12, a=StickyAssignor, b=StickyAssignor, c=StickyAssignor)
    third = group.members.pop("c")
    first = group.rebalance("a")
    group.members["c"] = third
    second = group.rebalance(leader)
    assert {name: len(given[TOPIC]) for name, given in second.items()} == dict.fromkeys("abc", 4)
    for name in ("a", "b"):
        assert set(second[name][TOPIC]) < set(first[name][TOPIC])


@pytest.mark.parametrize("leader", ["a", "b", "c"])
def test_a_frozen_worker_that_comes_back_even_as_the_leader_takes_no_more_than_its_share(leader: str) -> None:
    group = Group(12, a=StickyAssignor, b=StickyAssignor, c=StickyAssignor)
    group.rebalance("a")
    frozen = group.members.pop("a")
    meanwhile = group.rebalance("b")
    group.members["a"] = frozen
    after = group.rebalance(leader)
    assert len(after["a"][TOPIC]) == 4
    for name in ("b", "c"):
        assert set(after[name][TOPIC]) < set(meanwhile[name][TOPIC])


def test_a_fifth_worker_gets_a_share_of_twelve_partitions() -> None:
    group = Group(12, **dict.fromkeys("abcde", StickyAssignor))
    fifth = group.members.pop("e")
    group.rebalance("a")
    group.members["e"] = fifth
    assert len(group.rebalance("a")["e"][TOPIC]) == 2


@pytest.mark.parametrize("leader", ["old", "new"])
def test_workers_with_fausts_own_rule_share_with_us_whoever_leads(leader: str) -> None:
    group = Group(7, old=PartitionAssignor, new=StickyAssignor)
    for turn in (leader, "old", "new"):
        shares = group.rebalance(turn)
        assert set(owners(shares)) == {(TOPIC, number) for number in range(7)}
        assert spread(len(given[TOPIC]) for given in shares.values()) == 1


def test_a_topic_that_the_broker_does_not_know_is_nobodys() -> None:
    group = Group(2, a=StickyAssignor)
    sent = {"a": group.members["a"].metadata({TOPIC, "not.yet"})}
    assert group.members["a"].assign(cluster(2), sent)["a"].assignment == [(TOPIC, [0, 1])]
