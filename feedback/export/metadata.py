"""Machine-readable descriptions of an export: `dataset_info` and `configs` for the `datasets` library, Croissant for everybody else."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from feedback.export.folder import SPLITS, file_sha256
from feedback.export.layouts import DICTIONARY

_DTYPES = {pa.string(): "string", pa.float64(): "float64", pa.bool_(): "bool", pa.int64(): "int64"}
_CROISSANT = {"string": "sc:Text", "float64": "sc:Float", "bool": "sc:Boolean", "int64": "sc:Integer"}


def features(fields: Iterable[pa.Field], indent: str) -> list[str]:
    """The columns as the YAML lines that `datasets` reads under `features:`."""
    lines = []
    for field in fields:
        lines.append(f"{indent}- name: {field.name}")
        if not pa.types.is_list(field.type):
            lines.append(f"{indent}  dtype: {_DTYPES[field.type]}")
        elif pa.types.is_struct(field.type.value_type):
            lines += [f"{indent}  list:", *features(field.type.value_type.fields, f"{indent}  ")]
        else:
            lines.append(f"{indent}  list: {_DTYPES[field.type.value_type]}")
    return lines


def configs(
    rows: Mapping[str, Mapping[str, int]], schemas: Mapping[str, pa.Schema], pattern: str, default: str | None = None
) -> list[str]:
    """The YAML lines `configs:` and `dataset_info:`. `pattern` has {config} and {split}.

    Splits without rows are not listed: `datasets` refuses them.
    """
    listed = {config: [s for s in SPLITS if splits[s]] for config, splits in rows.items() if any(splits.values())}
    if not listed:
        return ["configs: []"]
    lines = ["configs:"]
    for config, splits in listed.items():
        lines += [f"- config_name: {config}"] + (["  default: true"] if config == default or len(listed) == 1 else [])
        lines += ["  data_files:"]
        lines += [f"  - {{split: {split}, path: {pattern.format(config=config, split=split)}}}" for split in splits]
    lines += ["dataset_info:"]
    for config in listed:
        lines += [f"- config_name: {config}", "  features:", *features(schemas[config], "  ")]
    return lines


def write_folder_cards(out: Path, rows: Mapping[str, Mapping[str, int]], schemas: Mapping[str, pa.Schema]) -> None:
    """A README.md in every folder of rows, so that `load_dataset(folder)` finds its files and columns."""

    def write(folder: Path, title: str, lines: list[str]) -> None:
        text = f"# {title}\n\nPart of the export in the folder above; its README.md says what the rows are.\n"
        (folder / "README.md").write_text("\n".join(["---", *lines, "---", "", text]), encoding="utf-8")

    for config in rows:
        write(out / config, config, configs({config: rows[config]}, schemas, "{split}-*.parquet"))
        if (out / "jsonl" / config).is_dir():
            write(
                out / "jsonl" / config,
                f"{config} as JSON lines",
                configs({config: rows[config]}, schemas, "{split}.jsonl"),
            )
    if (out / "jsonl").is_dir() and rows:
        lines = configs(rows, schemas, "{config}/{split}.jsonl", next(iter(rows)))
        write(out / "jsonl", "All configs as JSON lines", lines)


def croissant(out: Path, rows: Mapping[str, Mapping[str, int]], schemas: Mapping[str, pa.Schema], about: str, run_id: str) -> str:  # fmt: skip
    """Croissant 1.0 metadata (JSON-LD) of the Parquet files: a file object a shard, a record set a config."""
    files: list[dict[str, Any]] = []
    records = []
    for config, splits in rows.items():
        shards = [
            path for split in SPLITS if splits[split] for path in sorted((out / config).glob(f"{split}-*.parquet"))
        ]
        names = [path.relative_to(out).as_posix() for path in shards]
        for path, name in zip(shards, names, strict=True):
            files.append(
                {
                    "@type": "cr:FileObject",
                    "@id": name,
                    "name": name.replace("/", "-"),
                    "contentUrl": name,
                    "encodingFormat": "application/x-parquet",
                    "sha256": file_sha256(path),
                }
            )
        if not names:
            continue
        # A record set reads one file; where a config has several, the first stands for their common columns.
        fields = [
            _field(f"{config}/{field.name}", field, names[0], field.name) for field in schemas[config] if _plain(field)
        ]
        records.append(
            {"@type": "cr:RecordSet", "@id": config, "name": config, "description": f"{sum(splits.values())} rows.", "field": fields}
        )  # fmt: skip
    made = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "name": f"supernotes-{run_id}",
        "description": about,
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "license": "LICENSE.md",
        "url": "README.md",
        "version": "1.0.0",
        "datePublished": "1970-01-01",  # equal inputs give equal bytes; the manifest says when the run was made
        "creator": {"@type": "sc:Organization", "name": "Supernotes"},
        "citeAs": f"Supernotes export of run {run_id}",
        "distribution": files,
        "recordSet": records,
    }
    return json.dumps(made, indent=1, ensure_ascii=False) + "\n"


def _plain(field: pa.Field) -> bool:
    """Croissant readers take apart flat columns and lists of values; conversations are described in schema.json."""
    return not pa.types.is_list(field.type) or not pa.types.is_struct(field.type.value_type)


def _field(name: str, field: pa.Field, file: str, column: str) -> dict[str, Any]:
    repeated = pa.types.is_list(field.type)
    kind = field.type.value_type if repeated else field.type
    return {
        "@type": "cr:Field",
        "@id": name,
        "name": name,
        "description": DICTIONARY[field.name],
        "dataType": _CROISSANT[_DTYPES[kind]],
        "source": {"fileObject": {"@id": file}, "extract": {"column": column}},
    } | ({"repeated": True} if repeated else {})


_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
"""The terms of Croissant 1.0, as its specification lists them."""
