"""Engines that read whole folders give the answers of manifests: from a folder, and from S3."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import five_questions
import pandas as pd
import pytest
from conftest import ROOT
from five_questions import METADATA, QUESTIONS, plain
from servers import BUCKET, S3Server

from catalog_tagger.errors import UsageError
from catalog_tagger.storage import Store
from catalog_tagger.tables.engines import ENGINES, POLARS, file_of, script, statements
from catalog_tagger.tables.views import connect

Rows = list[tuple[Any, ...]]
#: what stands in ``deploy/sql`` for a warehouse's place
PLACE = "s3://bucket/warehouse"


def of_duckdb(root: str, server: S3Server | None) -> dict[str, Rows]:
    import duckdb
    import fsspec

    with duckdb.connect() as connection:
        if server is not None:
            connection.register_filesystem(fsspec.filesystem("s3", endpoint_url=server.endpoint))
        for statement in statements("duckdb", root):
            connection.execute(statement)
        connection.register("metadata", pd.DataFrame(METADATA))
        return {name: connection.sql(sql).fetchall() for name, sql in QUESTIONS.items()}


def of_clickhouse(root: str, server: S3Server | None) -> dict[str, Rows]:
    chdb = pytest.importorskip("chdb.session")
    with chdb.Session() as session:
        place = root if server is None else f"{server.endpoint}/{root.removeprefix('s3://')}"
        for statement in statements("clickhouse", place):
            session.query(statement)
        values = ", ".join(f"('{row['track_id']}', '{row['title']}')" for row in METADATA)
        session.query(f"CREATE VIEW metadata AS SELECT * FROM values('track_id String, title String', {values})")
        found = {}
        for name, sql in QUESTIONS.items():
            table = session.query(sql, "ArrowTable")
            found[name] = [tuple(_text(value) for value in row.values()) for row in table.to_pylist()]
        return found


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


def of_datafusion(root: str, server: S3Server | None) -> dict[str, Rows]:
    datafusion = pytest.importorskip("datafusion")
    context = datafusion.SessionContext()
    if server is not None:
        from datafusion.object_store import AmazonS3

        at = AmazonS3(
            bucket_name=BUCKET,
            region="us-east-1",
            access_key_id=os.environ["AWS_ACCESS_KEY_ID"],
            secret_access_key=os.environ["AWS_SECRET_ACCESS_KEY"],
            endpoint=server.endpoint,
            allow_http=True,
        )
        context.register_object_store("s3://", at, BUCKET)
    context.sql("SET datafusion.execution.listing_table_factory_infer_partitions = false")
    for statement in statements("datafusion", root):
        context.sql(statement)
    context.from_pylist(METADATA, name="metadata")
    return {
        name: [tuple(row.values()) for row in context.sql(sql).to_arrow_table().to_pylist()]
        for name, sql in QUESTIONS.items()
    }


def of_polars(root: str, server: S3Server | None) -> dict[str, Rows]:
    polars = pytest.importorskip("polars", minversion="1.36")
    module: dict[str, Any] = {}
    exec(compile(script(POLARS, root), "polars.py", "exec"), module)
    options = {}
    if server is not None:
        options["storage_options"] = {
            "aws_access_key_id": os.environ["AWS_ACCESS_KEY_ID"],
            "aws_secret_access_key": os.environ["AWS_SECRET_ACCESS_KEY"],
            "aws_endpoint_url": server.endpoint,
            "aws_allow_http": "true",
            "aws_region": "us-east-1",
        }
    context = module["connect"](**options)
    context.register("metadata", polars.DataFrame(METADATA))
    return {name: context.execute(sql, eager=True).rows() for name, sql in QUESTIONS.items()}


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    sql = pytest.importorskip("pyspark.sql")
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java, and there is none here")
    session = (
        sql.SparkSession.builder.master("local[1]")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.shuffle.partitions", "1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.sql.session.timeZone", "UTC")
        .getOrCreate()
    )
    yield session
    session.stop()


ANSWERS: dict[str, Callable[[str, S3Server | None], dict[str, Rows]]] = {
    "duckdb": of_duckdb,
    "clickhouse": of_clickhouse,
    "datafusion": of_datafusion,
    "polars": of_polars,
}


def by_manifests(store: Store) -> dict[str, Rows]:
    with connect(store) as connection:
        connection.register("metadata", pd.DataFrame(METADATA))
        return {name: connection.sql(sql).fetchall() for name, sql in QUESTIONS.items()}


def require_same(found: dict[str, Rows], store: Store) -> None:
    wanted = by_manifests(store)
    assert all(wanted.values())
    for name, rows in found.items():
        assert len(rows) == len(wanted[name]), name
        for row, right in zip(rows, wanted[name], strict=True):
            assert [plain(value) for value in row] == pytest.approx(list(right)), name


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("warehouse"))
    five_questions.make(store)
    return store


@pytest.mark.parametrize("engine", ANSWERS)
def test_a_folder_gives_the_same_answers(engine: str, folder: Store) -> None:
    require_same(ANSWERS[engine](folder.uri, None), folder)


def test_spark_gives_the_same_answers(spark: Any, folder: Store) -> None:
    for statement in statements("spark", folder.uri):
        spark.sql(statement)
    spark.createDataFrame(METADATA).createOrReplaceTempView("metadata")
    require_same({name: [tuple(row) for row in spark.sql(sql).collect()] for name, sql in QUESTIONS.items()}, folder)


# rclone's server answers ranges that reach beyond the end with the whole, which these engines refuse
@pytest.mark.parametrize("s3", ["moto"], indirect=True)
@pytest.mark.parametrize("engine", ANSWERS)
def test_a_bucket_gives_the_same_answers(engine: str, s3: S3Server) -> None:
    store = Store(f"s3://{BUCKET}/tags")
    five_questions.make(store)
    require_same(ANSWERS[engine](store.uri, s3), store)


@pytest.mark.parametrize("engine", [*ENGINES, POLARS])
def test_what_is_deployed_is_what_is_generated(engine: str) -> None:
    assert (ROOT / "deploy" / "sql" / file_of(engine)).read_text() == script(engine, PLACE), (
        f"catalog-tagger's views have changed: python -m catalog_tagger.tables.engines {PLACE} deploy/sql"
    )


@pytest.mark.parametrize("engine", ["athena", "bigquery"])
def test_statements_for_engines_that_are_not_here_parse(engine: str) -> None:
    sqlglot = pytest.importorskip("sqlglot")
    for statement in statements(engine, PLACE):
        assert sqlglot.parse_one(statement, dialect=engine).sql()


def test_a_place_that_cannot_stand_in_a_statement_is_refused() -> None:
    with pytest.raises(UsageError, match="quotes"):
        script("duckdb", "/data/it's")
    with pytest.raises(UsageError, match="no engine 'oracle'; known are duckdb, spark"):
        statements("oracle", "/data")
