"""Flags over several runs: who they are, what became of them, and what editors say of them."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hand_made import put_tracks, some_metadata, some_tracks, write_csv
from hypothesis import given
from hypothesis import strategies as st

from catalog_tagger.errors import UsageError
from catalog_tagger.reconcile.config import make_config
from catalog_tagger.reconcile.decisions import Shift, fit_shift
from catalog_tagger.reconcile.flags import flag_id_of
from catalog_tagger.reconcile.job import ReconcileResult, run_reconcile
from catalog_tagger.reconcile.reviewed import Session
from catalog_tagger.storage import Store
from catalog_tagger.tables.prune import prune
from catalog_tagger.tables.views import query


class Catalogue:
    """A warehouse and its metadata, reconciled as often as a test wants."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = Store(folder / "w")
        put_tracks(self.store, some_tracks())
        self.runs = 0

    def run(self, decisions: list[dict[str, Any]] | str | None = None, **wrong: str) -> ReconcileResult:
        self.runs += 1
        metadata = write_csv(self.folder / "metadata.csv", some_metadata(**wrong))
        if isinstance(decisions, list):
            decisions = write_csv(self.folder / "decisions.csv", decisions)
        config = make_config(
            warehouse=self.store.uri, metadata=metadata, decisions=decisions, run_id=f"r{self.runs}", precision=0.9
        )
        return run_reconcile(config)


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    return Catalogue(tmp_path)


def states(result: ReconcileResult) -> dict[str, tuple[str, str]]:
    """Track -> (state, run that made the claim first)."""
    rows = result.flags.to_pylist()
    return {row["track_id"]: (row["state"], row["first_seen_run"]) for row in rows}


def decided(track_id: str, decision: str, **more: str) -> dict[str, str]:
    return {"flag_id": flag_id_of(track_id, "mislabelled", "content_type", None), "decision": decision, **more}


def test_a_flag_is_new_then_open_then_resolved_then_gone(catalogue: Catalogue) -> None:
    first = catalogue.run(m01="audiobook", m02="audiobook")
    assert states(first) == {"m01": ("new", "r1"), "m02": ("new", "r1")}
    second = catalogue.run(m01="audiobook", m03="audiobook")
    assert states(second) == {"m01": ("open", "r1"), "m02": ("resolved", "r1"), "m03": ("new", "r2")}
    third = catalogue.run(m01="audiobook", m02="audiobook")
    assert states(third) == {"m01": ("open", "r1"), "m02": ("new", "r3"), "m03": ("resolved", "r2")}
    fourth = catalogue.run(m01="audiobook", m02="audiobook")
    assert states(fourth) == {"m01": ("open", "r1"), "m02": ("open", "r3")}
    ids = query(catalogue.store, "SELECT count(DISTINCT flag_id) AS n FROM flags_history WHERE track_id = 'm01'")
    assert ids.to_pylist() == [{"n": 1}]


def test_what_was_dismissed_stays_quiet_without_its_file(catalogue: Catalogue) -> None:
    wrong = {"m01": "audiobook", "m02": "audiobook", "m03": "audiobook"}
    catalogue.run(**wrong)
    decisions = [decided("m01", "dismissed"), decided("m02", "Accepted")]
    for result in (catalogue.run(decisions, **wrong), catalogue.run(**wrong)):
        assert states(result)["m01"] == ("dismissed", "r1")
        assert states(result)["m02"] == ("open", "r1")
        assert result.decisions == 2
    kept = query(catalogue.store, "SELECT run_id, decision, kind, field, first_seen_run FROM decisions ORDER BY 2")
    assert kept.to_pylist() == [
        {"run_id": "r3", "decision": word, "kind": "mislabelled", "field": "content_type", "first_seen_run": "r1"}
        for word in ("accepted", "dismissed")
    ]


def test_a_dismissal_ends_with_the_value_it_was_about(catalogue: Catalogue) -> None:
    wrong = {"m02": "audiobook", "m03": "audiobook"}
    catalogue.run(m01="audiobook", **wrong)
    decisions = [decided("m01", "dismissed"), decided("m02", "accepted"), decided("m03", "accepted")]
    assert states(catalogue.run(decisions, m01="audiobook", **wrong))["m01"][0] == "dismissed"
    assert states(catalogue.run(decisions, m01="lecture", **wrong))["m01"] == ("open", "r1")
    # the same file again is no new decision, one that names the run is
    assert states(catalogue.run(decisions, m01="lecture", **wrong))["m01"] == ("open", "r1")
    again = [decided("m01", "dismissed", run_id="r4")]
    assert states(catalogue.run(again, m01="lecture", **wrong))["m01"] == ("dismissed", "r1")


def test_a_dismissal_ends_with_the_audio_it_was_about(catalogue: Catalogue) -> None:
    wrong = {"m01": "audiobook", "m02": "audiobook", "m03": "audiobook"}
    catalogue.run(**wrong)
    decisions = [decided("m01", "dismissed"), decided("m02", "accepted"), decided("m03", "accepted")]
    assert states(catalogue.run(decisions, **wrong))["m01"][0] == "dismissed"
    again = [row | {"audio_etag": "2"} for row in some_tracks() if row["track_id"] == "m01"]
    put_tracks(catalogue.store, again, run_id="t2", minute=30)
    assert states(catalogue.run(**wrong))["m01"] == ("open", "r1")


def test_a_decision_can_be_taken_back(catalogue: Catalogue) -> None:
    wrong = {"m01": "audiobook", "m02": "audiobook", "m03": "audiobook"}
    catalogue.run(**wrong)
    catalogue.run([decided("m01", "dismissed")], **wrong)
    result = catalogue.run([decided("m01", "accepted"), decided("m02", "accepted")], **wrong)
    assert states(result)["m01"] == ("open", "r1")


def test_decisions_shift_the_confidences_of_their_kind(catalogue: Catalogue) -> None:
    wrong = dict.fromkeys(["m01", "m02", "m03", "m04"], "audiobook")
    before = {row["track_id"]: row["confidence"] for row in catalogue.run(**wrong).flags.to_pylist()}
    good = catalogue.run([decided(one, "accepted") for one in ("m01", "m02", "m03")], **wrong)
    after = {row["track_id"]: row["confidence"] for row in good.flags.to_pylist()}
    assert all(after[one] > before[one] for one in before)
    original = query(catalogue.store, "SELECT DISTINCT round(confidence, 6) AS c FROM decisions").to_pylist()
    assert original == [{"c": pytest.approx(before["m01"], abs=1e-5)}]
    bad = catalogue.run([decided(one, "dismissed") for one in ("m01", "m02", "m03")], **wrong)
    left = {row["track_id"]: row for row in bad.flags.to_pylist()}
    assert left["m04"]["confidence"] < before["m04"] - 0.02
    again = query(catalogue.store, "SELECT max(confidence) AS c FROM decisions").to_pylist()
    assert again == [{"c": pytest.approx(before["m01"], abs=1e-5)}]


def test_decisions_may_be_the_list_itself_with_its_states_edited(catalogue: Catalogue) -> None:
    wrong = {"m01": "audiobook", "m02": "audiobook", "m03": "audiobook"}
    rows = catalogue.run(**wrong).flags
    edited = ["dismissed" if track == "m02" else state for track, state in zip(*_columns(rows), strict=True)]
    at = rows.column_names.index("state")
    path = catalogue.folder / "edited.parquet"
    pq.write_table(rows.set_column(at, "state", pa.array(edited)), path)
    result = catalogue.run(str(path), **wrong)
    assert result.decisions == 1
    assert states(result)["m02"] == ("dismissed", "r1")


def _columns(rows: pa.Table) -> tuple[list[str], list[str]]:
    return rows["track_id"].to_pylist(), rows["state"].to_pylist()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([decided("m01", "dismissed"), {"flag_id": "nonsense", "decision": "accepted"}], "'nonsense': no run has such"),
        ([decided("m01", "dismissed", run_id="r9")], "run r9 has no such flag"),
        ([decided("m01", "maybe")], "row 1: decision 'maybe'; expected accepted or dismissed"),
        ([decided("m01", "open")], "row 1: decision 'open'; expected accepted or dismissed"),
        ([decided("m01", "accepted"), decided("m01", "dismissed")], "row 2: .* is both accepted and dismissed"),
        ([{"flag_id": "", "decision": "accepted"}], "row 1: a decision without flag_id"),
        ([{"flag": "x", "decision": "accepted"}], "expected columns flag_id and decision .*; it has flag, decision"),
    ],
)
def test_decisions_that_cannot_be_are_one_error(catalogue: Catalogue, rows: list[dict[str, str]], message: str) -> None:
    catalogue.run(m01="audiobook")
    with pytest.raises(UsageError, match=f"decisions.csv: .*{message}"):
        catalogue.run(rows, m01="audiobook")
    assert catalogue.store.children("runs") == ["r1", "t1"]


confidence = st.floats(0.5, 1.0)


@given(st.lists(st.tuples(confidence, st.booleans()), min_size=1, max_size=40))
def test_the_shift_is_the_likeliest_and_can_be_undone(decided: list[tuple[float, bool]]) -> None:
    confidences = np.array([one for one, _ in decided])
    accepted = np.array([two for _, two in decided])
    shift = fit_shift(confidences, accepted)

    def log_posterior(mean: float) -> float:
        p = np.clip(Shift(mean=mean).applied(confidences), 1e-300, 1 - 1e-16)
        return float(np.sum(np.where(accepted, np.log(p), np.log1p(-p))) - mean**2 / 2)

    best = log_posterior(shift.mean)
    assert all(log_posterior(shift.mean + step) <= best + 1e-6 for step in (-0.1, -0.01, 0.01, 0.1))
    assert 0 < shift.spread <= 1
    for one in confidences[:3]:
        back = shift.undone(float(shift.applied(np.array([one]))[0]))
        assert back == pytest.approx(one, abs=1e-6)


@given(st.integers(1, 50), confidence)
def test_more_that_is_accepted_is_surer_and_better_known(n: int, one: float) -> None:
    few, more = (fit_shift(np.full(k, one), np.ones(k, bool)) for k in (n, n + 1))
    assert 0 <= few.mean <= more.mean + 1e-9
    assert fit_shift(np.full(n, one), np.zeros(n, bool)).mean < 0


@given(st.lists(st.text(max_size=5), min_size=4, max_size=4, unique=True))
def test_claims_have_ids_of_their_own(parts: list[str]) -> None:
    a, b, c, d = parts
    assert len({flag_id_of(a, b, c, d), flag_id_of(b, a, c, d), flag_id_of(a, b, c, None) if d else "x"}) == 3
    assert len(flag_id_of(a, b, c, d)) == 16


def test_reviewers_decisions_are_taken_in_once_and_the_latest_counts(catalogue: Catalogue) -> None:
    wrong = {"m01": "audiobook", "m02": "audiobook", "m03": "audiobook"}
    catalogue.run(**wrong)
    ids = {track: decided(track, "")["flag_id"] for track in wrong}
    ada, ben = Session(catalogue.store, "ada"), Session(catalogue.store, "ben")
    ada.decide(ids["m01"], "r1", "dismissed")
    ada.decide(ids["m02"], "r1", "dismissed")
    ben.decide(ids["m02"], "r1", "withdrawn")
    ben.decide(ids["m03"], "r1", "accepted")
    result = catalogue.run(**wrong)
    assert {track: state for track, (state, _) in states(result).items()} == {
        "m01": "dismissed",
        "m02": "open",
        "m03": "open",
    }
    assert result.decisions == 2
    # what another way of deciding says later is not undone by what was taken in
    assert states(catalogue.run([decided("m01", "accepted")], **wrong))["m01"][0] == "open"
    assert states(catalogue.run(**wrong))["m01"][0] == "open"


def test_a_file_that_is_given_again_undoes_nothing_that_was_decided_since(catalogue: Catalogue) -> None:
    wrong = {"m01": "audiobook", "m02": "audiobook"}
    catalogue.run(**wrong)
    every_night = [decided("m01", "dismissed")]
    assert states(catalogue.run(every_night, **wrong))["m01"][0] == "dismissed"
    Session(catalogue.store, "ada").decide(decided("m01", "")["flag_id"], "r2", "withdrawn")
    for _ in range(2):
        assert states(catalogue.run(every_night, **wrong))["m01"][0] != "dismissed"


def test_decisions_on_flags_of_runs_that_were_pruned_stop_nothing(catalogue: Catalogue) -> None:
    wrong = {"m01": "audiobook", "m02": "audiobook"}
    catalogue.run(**wrong)
    late, kept = Session(catalogue.store, "ada"), [decided("m02", "accepted")]
    catalogue.run(kept, **wrong)
    catalogue.run(kept, m01="audiobook")
    catalogue.run(kept, m01="audiobook")
    prune(catalogue.store, keep=timedelta(0))
    late.decide(decided("m01", "")["flag_id"], "r1", "dismissed")
    result = catalogue.run(kept, m01="audiobook")
    assert states(result)["m01"][0] == "open", "nobody can tell what the reviewer saw"
    assert result.decisions == 1
