"""The warehouse's views as statements of SQL engines, all made of one description.

An engine reads whole folders of Parquet (`published` says why that is right). `statements` defines, for one warehouse:

- ``runs``; ``tracks_history``, ``segments_history``, ...: every committed row of a table;
- ``tracks``, ``segments``, ``fingerprints``, ``songs``, ``flags``, ...: the current rows, by the rule of
  `views.NEWNESS` and of the run of their kind that was committed last (``newest_runs``);
- ``track_tags``, ``segment_tags``: tags in rows of their own.

What differs from engine to engine is how a folder is read, what a view is called and how a list becomes rows. SQL is
the same elsewhere: joins and ``row_number()``, which all of them have.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa

from catalog_tagger.errors import UsageError
from catalog_tagger.tables.published import COMMITS, schema_file
from catalog_tagger.tables.schemas import RUNS, TABLES, TABLES_OF
from catalog_tagger.tables.views import NEWNESS

POLARS: Final = "polars"
#: table of tags in rows -> (table, columns that stay)
_TAGS: Final = {"track_tags": ("tracks", ("track_id",)), "segment_tags": ("segments", ("track_id", "start_s", "end_s"))}


@dataclass(frozen=True)
class Engine:
    """How one engine says what the others say otherwise."""

    title: str
    comment: str
    """What its user has to know, a line or more."""
    files: Callable[[str, str, pa.Schema], tuple[list[str], str]]
    """(name of a relation, glob of its files, columns) -> (statements that make it, what to select from)."""
    view: str
    """Template of a view: ``{name}``, ``{select}``."""
    tags: str
    """Template of a select that gives every tag a row: ``{table}``, ``{columns}``."""
    dataset: str = ""
    """What every name is said with, where views forget the default that they were made in."""


def view_selects() -> Iterator[tuple[str, str]]:
    """(view, select) in an order in which each finds what it looks at; relations of files are ``<table>_files``."""
    yield "runs", f"SELECT {_columns(RUNS)} FROM runs_files"
    newest = "row_number() OVER (PARTITION BY kind ORDER BY committed_at DESC, run_id DESC)"
    yield (
        "newest_runs",
        f"SELECT kind, run_id FROM (SELECT kind, run_id, {newest} AS newest FROM runs) ranked WHERE newest = 1",
    )
    for table, schema in TABLES.items():
        yield (
            f"{table}_history",
            f"SELECT {_columns(schema, 'f')} FROM {table}_files f JOIN runs r ON f.run_id = r.run_id",
        )
    order = ", ".join(
        f"{'r' if column in RUNS.names and column != 'run_id' else 'h'}.{column} DESC" for column in NEWNESS
    )
    for kind, tables in TABLES_OF.items():
        for table, schema in sorted(tables.items(), key=lambda entry: entry[0] != "tracks"):
            if table == "tracks":
                ranked = (
                    f"SELECT {_columns(schema, 'h')}, "
                    f"row_number() OVER (PARTITION BY h.track_id ORDER BY {order}) AS newest "
                    f"FROM tracks_history h JOIN runs r ON h.run_id = r.run_id"
                )
                yield table, f"SELECT {_columns(schema)} FROM ({ranked}) ranked WHERE newest = 1"
            elif kind == "tag":
                both = "s.track_id = t.track_id AND s.run_id = t.run_id"
                yield table, f"SELECT {_columns(schema, 's')} FROM {table}_history s JOIN tracks t ON {both}"
            else:
                yield (
                    table,
                    f"SELECT {_columns(schema, 's')} FROM {table}_history s JOIN newest_runs n ON s.run_id = n.run_id "
                    f"WHERE n.kind = '{kind}'",
                )


def statements(engine: str, root: str) -> list[str]:
    """All statements that define the views of a warehouse, in their order, without semicolons.

    Parameters
    ----------
    engine
        A key of `ENGINES`.
    root
        Where the engine finds the warehouse: an absolute path, or ``s3://bucket/prefix``.

    Raises
    ------
    UsageError
        No such engine, or a root that cannot stand in a statement.
    """
    if engine not in ENGINES:
        raise UsageError(f"no engine {engine!r}; known are {', '.join(ENGINES)}")
    if any(character in root for character in "'\\\n"):
        raise UsageError(
            f"{root!r}: quotes and backslashes cannot stand in a statement; give the warehouse another name"
        )
    one, root = ENGINES[engine], root.rstrip("/")
    made: list[str] = []
    relations = {}
    for table, schema in (("runs", RUNS), *TABLES.items()):
        pattern = f"{root}/{COMMITS}/*.parquet" if table == "runs" else f"{root}/{table}/*/*.parquet"
        making, relations[f"{table}_files"] = one.files(f"{table}_files", pattern, schema)
        made += making
    for name, select in view_selects():
        made.append(one.view.format(name=name, select=_reading(select, relations)))
    for name, (table, columns) in _TAGS.items():
        made.append(one.view.format(name=name, select=one.tags.format(table=table, columns=", ".join(columns))))
    return [_in_dataset(statement, one.dataset) for statement in made] if one.dataset else made


def _in_dataset(statement: str, dataset: str) -> str:
    """With the dataset before every name."""
    names = "|".join(sorted((*(name for name, _ in view_selects()), *_TAGS, "\\w+_files"), key=len, reverse=True))
    return re.sub(rf"\b(FROM|JOIN|TABLE|VIEW) ({names})\b", rf"\1 {dataset}.\2", statement)


def _reading(select: str, relations: Mapping[str, str]) -> str:
    """A select with what an engine reads in the place of relations of files."""
    for relation, said in relations.items():
        select = select.replace(f"FROM {relation}", f"FROM {said}")
    return select


def script(engine: str, root: str) -> str:
    """The statements as a file, with what its user has to know; of Polars, which has no views, a Python module."""
    if engine == POLARS:
        return _POLARS_SCRIPT.format(
            root=root.rstrip("/"),
            commits=COMMITS,
            tables={name: schema_file(schema) for name, schema in TABLES.items()},
            views=_listed(),
            tags=_TAGS,
        )
    made = statements(engine, root)
    head = [
        f"The tables of a catalog_tagger warehouse as views of {ENGINES[engine].title}.",
        *ENGINES[engine].comment.splitlines(),
    ]
    return "".join(f"-- {line}\n" for line in head) + "\n" + ";\n\n".join(made) + ";\n"


def _listed() -> str:
    return "{\n" + "".join(f"    {name!r}: {select!r},\n" for name, select in view_selects()) + "}"


def _columns(schema: pa.Schema, alias: str = "") -> str:
    """Columns by name: rows of two runs may have them in other orders."""
    return ", ".join(f"{alias}.{name}" if alias else name for name in schema.names)


# ---- types, for engines that are told them -------------------------------------------------------------------------


def _type(
    kind: pa.DataType,
    simple: dict[pa.DataType, str],
    listed: str,
    struct: str,
    of_struct: str,
    *,
    inner: str = "{of}",
) -> str:
    """A type in the words of an engine; templates take ``{of}``, and ``{name}`` for a field of a struct.

    `inner` is what becomes of a simple type within another: what is null there would be zero elsewhere.
    """

    def within(one: pa.DataType) -> str:
        said = _type(one, simple, listed, struct, of_struct, inner=inner)
        return said if pa.types.is_nested(one) else inner.format(of=said)

    if pa.types.is_list(kind):
        return listed.format(of=within(kind.value_type))
    if pa.types.is_struct(kind):
        return struct.format(of=", ".join(of_struct.format(name=field.name, of=within(field.type)) for field in kind))
    return simple[kind]


_HIVE: Final = {
    pa.string(): "string",
    pa.int16(): "smallint",
    pa.int32(): "int",
    pa.int64(): "bigint",
    pa.float32(): "float",
    pa.float64(): "double",
    pa.bool_(): "boolean",
    pa.timestamp("us", tz="UTC"): "timestamp",
}
_CLICKHOUSE: Final = {
    pa.string(): "String",
    pa.int16(): "Int16",
    pa.int32(): "Int32",
    pa.int64(): "Int64",
    pa.float32(): "Float32",
    pa.float64(): "Float64",
    pa.bool_(): "Bool",
    pa.timestamp("us", tz="UTC"): "DateTime64(6, \\'UTC\\')",
}


def _hive_columns(schema: pa.Schema) -> str:
    return ", ".join(
        f"`{field.name}` {_type(field.type, _HIVE, 'array<{of}>', 'struct<{of}>', '{name}:{of}')}" for field in schema
    )


def _clickhouse_columns(schema: pa.Schema) -> str:
    """All that is no list or tuple may be null: columns that older files lack are."""
    found = []
    for field in schema:
        nested = pa.types.is_nested(field.type)
        kind = _type(field.type, _CLICKHOUSE, "Array({of})", "Tuple({of})", "{name} {of}", inner="Nullable({of})")
        found.append(f"{field.name} {kind if nested else f'Nullable({kind})'}")
    return ", ".join(found)


# ---- how each engine reads a folder --------------------------------------------------------------------------------


def _duckdb(_: str, pattern: str, __: pa.Schema) -> tuple[list[str], str]:
    return [], f"read_parquet('{pattern}', hive_partitioning = false, union_by_name = true)"


def _spark(name: str, pattern: str, schema: pa.Schema) -> tuple[list[str], str]:
    columns = _hive_columns(schema)
    return [f"CREATE OR REPLACE TEMPORARY VIEW {name} ({columns}) USING parquet OPTIONS (path '{pattern}')"], name


def _clickhouse(_: str, pattern: str, schema: pa.Schema) -> tuple[list[str], str]:
    reader = "s3" if "://" in pattern else "file"
    return [], f"{reader}('{pattern}', 'Parquet', '{_clickhouse_columns(schema)}')"


def _datafusion(name: str, pattern: str, _: pa.Schema) -> tuple[list[str], str]:
    return [f"CREATE EXTERNAL TABLE IF NOT EXISTS {name} STORED AS PARQUET LOCATION '{_folder(pattern)}'"], name


def _athena(name: str, pattern: str, schema: pa.Schema) -> tuple[list[str], str]:
    """Made anew: a table that is there would refuse columns that a later release adds. The files stay."""
    columns, folder = _hive_columns(schema), _folder(pattern)
    made = f"CREATE EXTERNAL TABLE {name} ({columns}) STORED AS PARQUET LOCATION '{folder}'"
    return [f"DROP TABLE IF EXISTS {name}", made], name


def _bigquery(name: str, pattern: str, schema: pa.Schema) -> tuple[list[str], str]:
    """Columns are those of one file: of the one that has all of this release, where the table has such."""
    options = [f"format = 'PARQUET', uris = ['{_folder(pattern)}*.parquet'], enable_list_inference = true"]
    if COMMITS not in pattern:
        options.append(f"reference_file_schema_uri = '{_folder(pattern)}run_id=none/{schema_file(schema)}'")
    return [f"CREATE OR REPLACE EXTERNAL TABLE {name} OPTIONS ({', '.join(options)})"], name


def _folder(pattern: str) -> str:
    return pattern[: pattern.index("*")]


_VIEW: Final = "CREATE OR REPLACE VIEW {name} AS {select}"
ENGINES: Final = {
    "duckdb": Engine(
        "DuckDB",
        "For a bucket first: INSTALL httpfs; LOAD httpfs; CREATE SECRET (TYPE s3, PROVIDER credential_chain);",
        _duckdb,
        _VIEW,
        "SELECT {columns}, t.tag, t.score FROM {table}, unnest(tags) AS each(t)",
    ),
    "spark": Engine(
        "Spark SQL",
        "Of a session, which lists files once: run it again after a run. Buckets: s3a://, with hadoop-aws.",
        _spark,
        "CREATE OR REPLACE TEMPORARY VIEW {name} AS {select}",
        "SELECT {columns}, t.tag, t.score FROM {table} LATERAL VIEW explode(tags) tagged AS t",
    ),
    "clickhouse": Engine(
        "ClickHouse",
        "A server reads local files below its user_files_path alone; a bucket with the credentials of its environment.",
        _clickhouse,
        _VIEW,
        "SELECT {columns}, tupleElement(t, 'tag') AS tag, tupleElement(t, 'score') AS score FROM {table} "
        "ARRAY JOIN tags AS t",
    ),
    "datafusion": Engine(
        "DataFusion",
        "First: SET datafusion.execution.listing_table_factory_infer_partitions = false. Run it again after a run.",
        _datafusion,
        _VIEW,
        "SELECT {columns}, t['tag'] AS tag, t['score'] AS score "
        "FROM (SELECT {columns}, unnest(tags) AS t FROM {table})",
    ),
    "athena": Engine(
        "Amazon Athena",
        "Athena takes one statement at a time; LOCATION needs s3://.",
        _athena,
        _VIEW,
        "SELECT {columns}, tag, score FROM {table} CROSS JOIN UNNEST(tags) AS tagged (tag, score)",
    ),
    "bigquery": Engine(
        "BigQuery",
        "In the dataset catalog_tagger; of files in gs://, or in S3 by an external connection (WITH CONNECTION).",
        _bigquery,
        _VIEW,
        "SELECT {columns}, t.tag, t.score FROM {table}, UNNEST(tags) AS t",
        dataset="catalog_tagger",
    ),
}

_POLARS_SCRIPT: Final = '''# The tables of a catalog_tagger warehouse as frames of Polars (1.36 and later):
#     connect().execute("SELECT content_type, count(*) FROM tracks GROUP BY content_type", eager=True)
import polars

ROOT = {root!r}
TABLES = {tables!r}
VIEWS = {views}
TAGS = {tags!r}


def connect(root=ROOT, **options):
    """All views by their names; options are those of `polars.scan_parquet`, such as storage_options for a bucket."""
    context = polars.SQLContext()
    reading = {{"hive_partitioning": False, "missing_columns": "insert", "extra_columns": "ignore", **options}}
    context.register("runs_files", polars.scan_parquet(f"{{root}}/{commits}/*.parquet", **reading))
    for name, first in TABLES.items():  # the first file says which columns there are
        places = [f"{{root}}/{{name}}/run_id=none/{{first}}", f"{{root}}/{{name}}/*/*.parquet"]
        context.register(f"{{name}}_files", polars.scan_parquet(places, **reading))
    for name, select in VIEWS.items():
        context.register(name, context.execute(select))
    for name, (table, columns) in TAGS.items():
        tags = context.execute(f"SELECT * FROM {{table}}").select(*columns, "tags")
        context.register(name, tags.explode("tags").drop_nulls("tags").unnest("tags"))
    return context
'''


def file_of(engine: str) -> str:
    """The file in ``deploy/sql`` that is made for an engine."""
    return f"{engine}.{'py' if engine == POLARS else 'sql'}"


def main() -> None:
    """Write the files of ``deploy/sql``: ``python -m catalog_tagger.tables.engines PLACE FOLDER``."""
    place, folder = sys.argv[1:]
    for name in (*ENGINES, POLARS):
        Path(folder, file_of(name)).write_text(script(name, place))


if __name__ == "__main__":
    main()
