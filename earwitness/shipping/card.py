"""The run's figures -> CARD.md of each model that ships: what it is made of, how it did, where it fails."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Any

from models.recordings import Heap
from schemas.model import MODEL_FILE, ModelSpec, read_spec

CARD_FILE = "CARD.md"
LIMITS = """\
- It is **not certified for life safety** and must not stand in for a listed alarm, or for a person.
- **Smoke alarms and sirens were learned from generated sound only**, and measured on sound from a second
  generator. No recorded alarm was there to learn from or to test on.
- A temporal-three alarm pauses for 1.5 s: it may be found again after each pause, as a detection of its own.
  Join what lies less than 2 s apart.
- The other classes were learned from about 30 recordings each. What is in none of the classes may still
  sound like one; negatives were speech, music, a little ambience and generated noise. Households, streets and
  workshops were hardly heard: count false alarms, and choose thresholds, in a place of your own.
- The generator that measures makes hum, engines, clatter, whistles, chords and tunes much as the one does
  that was learned from. What networks missed of its sirens, and took for alarms among its whistles and tunes,
  was known when the first one was given more of such sounds. Of others expect more misses, and more false
  alarms.
- A tone that neither pauses nor changes is learned as nothing: a continuous evacuation signal is no smoke
  alarm here. Sirens of two tones of more than 1 s each (Italy's, some of France's) were not learned.
- The figures are of networks that were trained without what they are measured on. **The model that ships has
  heard all folds**, and can be measured only on sound that it has not heard.
"""
AT_THRESHOLDS = """\
- **Alarms and sirens are missed, sirens more often**: how many of each pattern are found at all is under
  "Alerts by pattern" on the card of earwitness-small. Others are found late, or in pieces; some are taken for
  a rooster, too. Music and tunes have driven thresholds up: lower them where a miss is worse than a false
  alarm.
- **A whistling kettle may be a smoke alarm**, and so may quick beeps of a kitchen timer or an alarm clock,
  and long ones of an appliance; a slow tune of plucked notes may be a siren.
- **What is heard in a background is missed more often than a recording alone**: see "Events" on that card,
  above all the labels of which few are found there. Beginning and end are seldom right. Noise of many kinds
  sounds like a helicopter, a chainsaw or a fire.
- How far thresholds keep from what was counted (0.3 of log-odds), and the rate that they were chosen for,
  were set with sounds that measure false alarms in sight: of other sounds there will be more.
"""
A_TENTH = "0.1"

Figures = Mapping[str, Any]


def write_cards(figures: Figures, heap: Heap, catalogue: Path, trigger: Path) -> None:
    """Write the cards of the classifier, its 8-bit version and the trigger."""
    name = figures["made_with"]["name"]
    version = figures["made_with"]["version"]
    main = catalogue / name / version
    _write(main, _main(read_spec(main), figures, heap))
    small = catalogue / f"{name}-int8" / version
    _write(small, _int8(read_spec(small), figures))
    _write(trigger, _trigger(read_spec(trigger), figures))


def _write(directory: Path, sections: Mapping[str, str]) -> None:
    size = (directory / MODEL_FILE).stat().st_size
    first, *others = (f"## {title}\n\n{text.strip()}\n" for title, text in sections.items())
    text = "\n".join([first[1:].rstrip() + f" {size:,} bytes.\n", *others])
    (directory / CARD_FILE).write_text(text, encoding="utf-8")


def _main(spec: ModelSpec, figures: Figures, heap: Heap) -> dict[str, str]:
    recipe = figures["recipe"]
    return {
        f"{spec.name} {spec.version}": _summary(spec),
        "Made of": _material(figures, heap),
        "Clip accuracy": _accuracy(figures["accuracy"]),
        "Events": _events(recipe),
        "Alerts by pattern": _patterns(figures["patterns"]),
        "False alarms": _false_alarms(figures["shipped"], recipe),
        "Worse sound": _robustness(recipe["robustness"]),
        "Calibration": _calibration(recipe["calibration"]),
        "Thresholds": _thresholds(spec, figures),
        "Failure cases": _wrong(figures["accuracy"]),
        "Limits": LIMITS + AT_THRESHOLDS,
        "Made again": _again(figures),
        "Sources": _sources(heap),
    }


def _int8(spec: ModelSpec, figures: Figures) -> dict[str, str]:
    of = figures["int8"]
    head = ("held out", "accuracy, float32", "accuracy, 8 bits", "same top label", "largest difference")
    rows = [
        [
            f"fold {fold}",
            _number(each["before"]["clip_accuracy"]),
            _number(each["after"]["clip_accuracy"]),
            _number(each["agreement"]),
            _number(each["largest_difference"]),
        ]
        for fold, each in of["folds"].items()
    ]
    ships = of["shipped"]  # it has heard all of the recordings: how many it guesses right says nothing
    rows.append(["none", "–", "–", _number(ships["agreement"]), _number(ships["largest_difference"])])
    return {
        f"{spec.name} {spec.version}": _summary(spec),
        "What it is": f"{figures['made_with']['name']} with 8-bit weights and activations in its network, "
        "quantised after training; the front end and the head are float32. Data, limits and thresholds are "
        "those of that model: see its card.",
        "Measured": "Windows of digital silence are among those whose top label is compared, though it means "
        "nothing there.\n\n" + _table(head, rows) + "\n" + _speeds(of["shipped"]),
        "Limits": LIMITS + AT_THRESHOLDS,
    }


def _trigger(spec: ModelSpec, figures: Figures) -> dict[str, str]:
    of = figures["trigger"]
    head = ("held out", "threshold", "detections that pass", "windows of ambience rejected")
    rows = [
        [fold, _number(of["thresholds"][fold]), _share(each["passed"]), _share(each["rejected"])]
        for fold, each in of["folds"].items()
    ]
    return {
        f"{spec.name} {spec.version}": _summary(spec),
        "What it is": "A gate in front of the classifier, for where there is little power: a window that "
        "does not reach its threshold need not be scored, or sent. It has learned from the classifier's "
        "scores.",
        "Measured": "Streams of recordings and of generated alarms over ambience, all of a fold that neither "
        "network has heard; each fold's threshold was chosen on the other folds. The one that ships has the "
        f"threshold {of['threshold']:.2f}, chosen on all of them.\n\n"
        + _table(head, rows)
        + "\n"
        + _speeds(of["speed"]),
        "Limits": LIMITS,
    }


def _summary(spec: ModelSpec) -> str:
    return (
        f"`{spec.input.name}` {spec.input.dtype}[B, {spec.window_samples}] at {spec.sample_rate_hz} Hz, a "
        f"window every {spec.hop_s:g} s, to `{spec.output.name}` float32[B, {len(spec.labels)}], independent "
        f"probabilities. Features are in the graph.\n\nLabels: {', '.join(spec.labels)}. "
        f"Licence: {spec.licence}. Digest: {spec.digest}."
    )


def _material(figures: Figures, heap: Heap) -> str:
    made = figures["made_with"]
    groups = Counter((r.path.split("/")[0], r.licence or "not stated") for r in heap.all)
    rows = [[folder, licence, str(count)] for (folder, licence), count in sorted(groups.items())]
    digests = "\n".join(f"- {name}: {digest}" for name, digest in made["digests"].items())
    return (
        "The classes are those of ESC-10 (K. J. Piczak, *ESC: Dataset for Environmental Sound "
        "Classification*, ACM Multimedia 2015), folds 1 to 4; ambience is held out by fold too. Speech, "
        "music and sounds of free packages are negatives, and the teacher's opinion of them was learned "
        "first. "
        f"{made['generated']} alarms, sirens and noises were generated. The teacher is YAMNet (Apache-2.0): "
        "its scores and its embedding were targets of training; no weight of it is in this model.\n\n"
        + _table(("folder", "licence", "recordings"), rows)
        + f"\nSHA-256 of the data:\n\n{digests}"
    )


def _accuracy(of: Figures) -> str:
    folds = sorted(next(iter(of["by_seed"].values()))["folds"], key=int)
    rows = [
        [
            seed,
            *(_number(each["folds"][fold]) for fold in folds),
            f"**{each['mean_of_folds']:.3f}**",
            _share(each["all"]),
        ]
        for seed, each in of["by_seed"].items()
    ]
    first = next(iter(of["by_seed"].values()))
    spread = f"the mean of {len(rows)} seeds** (standard deviation {of['spread']:.3f})"
    seeds = "one seed** (what another would give is not known)" if len(rows) == 1 else spread
    return (
        f"Ten classes, 4 folds: **{of['mean']:.3f}, {seeds}. Each recording was guessed by a network that "
        "was trained without its fold; the networks share what they learned first, of sound that is in no "
        "fold.\n\n"
        + _table(("seed", *(f"fold {fold}" for fold in folds), "mean", "all recordings"), rows)
        + "\nConfusion of the first seed (rows: what it is; columns: what was said, in the same order):\n\n"
        + _confusion(first["confusion"])
    )


def _confusion(of: Figures) -> str:
    labels = of["labels"]
    rows = [
        [label, *("·" if not count else str(count) for count in counts)]
        for label, counts in zip(labels, of["counts"], strict=True)
    ]
    return _table(("", *(label.replace("_", " ") for label in labels)), rows)


def _events(recipe: Figures) -> str:
    streams, alarms = recipe["events"], recipe["alarms"]
    rows = [
        [
            label,
            str(of["tp"]),
            str(of["fp"]),
            str(of["fn"]),
            _f1(of),
            _f1(streams["event_f1_joined"]["by_label"][label]),
            _found(streams["intersection_f1"][A_TENTH]["by_label"][label]),
        ]
        for label, of in streams["event_f1"]["by_label"].items()
    ]
    alarm_rows = [
        [snr, label, *(str(of[key]) for key in ("tp", "fp", "fn")), _f1(of)]
        for snr, at in alarms.items()
        for label, of in at["event_f1_joined"]["by_label"].items()
    ]
    psds = ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in streams["psds"].items())
    return (
        f"Streams of a minute with {streams['events']} events in {streams['hours']:.2f} h, made of held-out "
        "recordings over held-out ambience at 0 to 12 dB of SNR, decided by thresholds that were chosen on "
        f"the other folds. **Macro event F1 {_number(streams['event_f1']['macro'])}**, with pauses up to 2 s "
        f"joined {_number(streams['event_f1_joined']['macro'])}; onset within 1 s, offset within 1.5 s or "
        "half the event's length. A tenth found: detected for a tenth of its length, by detections of which "
        f"a tenth lies in events. {psds}.\n\n"
        + _table(("label", "found", "false", "missed", "F1", "F1, pauses joined", "a tenth found"), rows)
        + "\nAlarms of the second generator, in rooms and through loudspeakers, over held-out ambience "
        "(pauses joined):\n\n" + _table(("SNR", "label", "found", "false", "missed", "F1"), alarm_rows)
    )


def _patterns(of: Figures) -> str:
    patterns = [(label, name, by_snr) for label, named in of.items() for name, by_snr in named.items()]
    rows = [
        [label, name.replace("_", " "), *(f"{found['right']} of {found['all']}" for found in by_snr.values())]
        for label, name, by_snr in patterns
    ]
    shares = [each for _, _, by_snr in patterns for each in by_snr.values()]
    widest = max(max(each["high"] - each["value"], each["value"] - each["low"]) for each in shares)
    return (
        "The second generator's patterns, one by one, over held-out ambience, in rooms, half of them through "
        "a loudspeaker: of how many anything was detected as their label while they sounded, however late or "
        "short, by SNR. By the first seed's networks, each without that ambience, at thresholds chosen on "
        f"the other folds; a share is known to {ceil(100 * widest)} points either way, with 95 % "
        "confidence.\n\n" + _table(("label", "pattern", *(f"{snr} dB" for snr in patterns[0][2])), rows)
    )


def _false_alarms(shipped: Figures, recipe: Figures) -> str:
    of, ambience = shipped["false_alarms"], recipe["false_alarms"]["all"]
    rows = [
        [source["name"], f"{source['all']['hours']:.2f}", str(source["all"]["count"]), _rate(source["all"])]
        for source in of["sources"]
        if source["all"]["hours"]
    ]
    labels, kinds = _counted(of["by_label"]), _counted(_by_kind(of["sources"]))
    return (
        f"The model that ships, on sound that took no part in its training or its thresholds: "
        f"**{_rate(of['all'])}** ({of['all']['count']} in {of['all']['hours']:.2f} h). "
        f"By label: {labels}. By what it was: {kinds}.\n\n"
        + _table(("source", "hours", "false alarms", "an hour"), rows)
        + "\nThe mix of sources is ours: read each. Bounds take false alarms for independent; several in one "
        "sound are not, so bounds are too low there.\n"
        f"\nIn ambience, each fold's heard by the network that was trained without it: {_rate(ambience)}"
        f" ({ambience['count']} in {ambience['hours']:.2f} h)."
    )


def _by_kind(sources: Sequence[Figures]) -> dict[str, Figures]:
    return {
        f"{kind} ({source['name']})": rate for source in sources for kind, rate in source["by_kind"].items()
    }


def _counted(rates: Mapping[str, Figures]) -> str:
    return ", ".join(f"{name} {rate['count']}" for name, rate in rates.items() if rate["count"]) or "none"


def _robustness(of: Figures) -> str:
    rows = [
        [name, "  ".join(f"{point['x']:g}: {_number(point['accuracy']['value'])}" for point in curve)]
        for name, curve in of.items()
    ]
    return "Clip accuracy when the sound gets worse:\n\n" + _table(("what changes", "accuracy"), rows)


def _calibration(of: Figures | None) -> str:
    if of is None:
        return "Not measured."
    return (
        f"Expected calibration error of window scores {_number(of['expected_error'])}; "
        f"{_number(of['expected_error_tempered'])} at the best temperature, {_number(of['temperature'])}."
    )


def _thresholds(spec: ModelSpec, figures: Figures) -> str:
    choice = figures["recipe"]["thresholds"]
    rows = [
        [
            label,
            f"{of['threshold']:.2f}",
            f"{of['m']} of {of['n']}",
            _number(of["event_f1"]),
            f"{of['false_alarms_per_hour']:.2f}",
        ]
        for label, of in choice["labels"].items()
    ]
    return (
        "A label is active where so many of its last windows reached its threshold. Chosen on "
        f"{choice['hours']:.2f} h of negatives and on streams of held-out recordings, for at most "
        f"{choice['allowed_per_hour']:g} false alarms an hour over all labels; the figures here are of what "
        "they were chosen on.\n\n"
        + _table(("label", "threshold", "windows", "event F1", "false alarms an hour"), rows)
    )


def _wrong(of: Figures) -> str:
    wrong = Counter(tuple(each) for seed in of["by_seed"].values() for each in seed["wrong"])
    seeds = len(of["by_seed"])
    rows = [
        [path, label, guess, f"{count} of {seeds}"] for (path, label, guess), count in wrong.most_common()
    ]
    return "Recordings that were guessed wrong:\n\n" + _table(
        ("recording", "is", "was taken for", "seeds"), rows
    )


def _again(figures: Figures) -> str:
    made = figures["made_with"]
    fit = made["fit"]
    return (
        "`make model`: it fetches the free packages, learns the teacher's opinion of "
        f"{made['pretrain_windows']} windows in {made['pretrain_steps']} steps, then trains "
        f"{fit['steps']} steps of {fit['batch']} windows for each fold and seed, from a pool of "
        f"{made['windows']} windows, from recordings mixed anew, and from what it last took for something "
        f"though nothing was there ({fit['hard_share']:.0%} of each batch)."
    )


def _sources(heap: Heap) -> str:
    named = {(r.source, r.licence) for r in heap.labelled + heap.backgrounds if r.licence != "generated"}
    return "\n".join(f"- {source} ({licence or 'licence not stated'})" for source, licence in sorted(named))


def _speeds(compared: Figures) -> str:
    rows = [
        [
            each["model"],
            f"{each['file_bytes']:,}",
            *(
                f"{turns['median_ms']:.3f} (least {turns['least_ms']:.3f})"
                for turns in each["speed"].values()
            ),
        ]
        for each in (compared["before"], compared["after"])
    ]
    head = ("model", "bytes", *(f"ms a window, batch {batch}" for batch in compared["before"]["speed"]))
    return "One core, alternating turns of one run:\n\n" + _table(head, rows)


def _share(of: Figures) -> str:
    if of["value"] is None:
        return "–"
    return f"{of['value']:.3f} ({of['low']:.3f} to {of['high']:.3f}, n = {of['all']})"


def _rate(of: Figures) -> str:
    if of["per_hour"] is None:
        return "–"
    return f"{of['per_hour']:.2f} an hour, at most {of['upper_per_hour']:.2f} with 95 % confidence"


def _f1(counts: Mapping[str, int]) -> str:
    out_of = 2 * counts["tp"] + counts["fp"] + counts["fn"]
    return _number(2 * counts["tp"] / out_of if out_of else None)


def _found(counts: Mapping[str, int]) -> str:
    events = counts["tp"] + counts["fn"]
    return f"{counts['tp']} of {events}" if events else "–"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
