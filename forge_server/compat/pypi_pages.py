"""Projects of the Python index as JSON (PEP 691) and as HTML (PEP 503). Pure.

Repository version 1.4: with sizes, versions and times (PEP 700), yanks (PEP 592), metadata files
(PEP 658 and 714) and the status of projects (PEP 792).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from html import escape
from typing import Any, Final

from signing.digests import sha256_hex

from .pypi_projects import IndexFile, Project

VERSION: Final = "1.4"
JSON: Final = "application/vnd.pypi.simple.v1+json"
HTML: Final = "application/vnd.pypi.simple.v1+html"
TEXT: Final = "text/html"
_LATEST: Final = "application/vnd.pypi.simple.latest+json"
OFFERED: Final = (TEXT, HTML, JSON, _LATEST)  # the first for who does not care
_COPIES: Final = "pinned copies of another index's files; no signed releases"
_META: Final = f'<meta name="pypi:repository-version" content="{VERSION}">'


def render_project(project: Project, form: str, files: str) -> tuple[str, bytes]:
    """The page's ETag and bytes; ``files`` is where files are, relative to it, with a final /."""
    if form in (JSON, _LATEST):
        return _with_etag(json.dumps(_project_json(project, files)))
    named = {"pypi:project-status": project.status}
    if project.status_reason is not None:
        named["pypi:project-status-reason"] = project.status_reason
    named |= {f"forge:upstream-{key}": value for key, value in _upstream(project).items()}
    head = "".join(
        f'<meta name="{escape(name)}" content="{escape(text)}">' for name, text in named.items()
    )
    lines = [_anchor(file, files) for file in project.files]
    return _with_etag(_page(project.name, _META + head, lines))


def render_names(names: Sequence[str], form: str) -> tuple[str, bytes]:
    """The ETag and bytes of the list of projects."""
    if form in (JSON, _LATEST):
        value = {"meta": {"api-version": VERSION}, "projects": [{"name": name} for name in names]}
        return _with_etag(json.dumps(value))
    return _with_etag(
        _page("Simple index", _META, [f'<a href="{name}/">{name}</a><br>' for name in names])
    )


def _with_etag(text: str) -> tuple[str, bytes]:
    data = text.encode("ascii", "xmlcharrefreplace") + b"\n"
    return sha256_hex(data)[:32], data


def _page(title: str, head: str, lines: Sequence[str]) -> str:
    return (
        f"<!DOCTYPE html>\n<html><head>{head}<title>{escape(title)}</title></head>\n<body>\n"
        + "\n".join(lines)
        + "\n</body></html>"
    )


def _project_json(project: Project, files: str) -> dict[str, Any]:
    value: dict[str, Any] = {
        "meta": {"api-version": VERSION},
        "name": project.name,
        "versions": project.versions,
        "files": [_file_json(file, files) for file in project.files],
        "project-status": {"status": project.status},
    }
    if project.status_reason is not None:
        value["project-status"]["reason"] = project.status_reason
    # PEP 691: a leading underscore is ours
    if project.component is not None:
        value["_forge"] = {"component": project.component}
    else:
        value["_forge"] = {"upstream": _upstream(project)}
    return value


def _upstream(project: Project) -> dict[str, str]:
    """What is said of copies of another index's files; nothing of files of releases."""
    if project.as_of is None:
        return {}
    value = {"note": _COPIES, "as-of": _instant(project.as_of)}
    if project.problem is not None:
        value["problem"] = project.problem
    return value


def _file_json(file: IndexFile, files: str) -> dict[str, Any]:
    value: dict[str, Any] = {
        "filename": file.filename,
        "url": _url(file, files),
        "hashes": {"sha256": file.sha256},
        "size": file.size,
        "upload-time": _instant(file.uploaded_at),
        "yanked": False if file.yanked is None else file.yanked or True,
    }
    if file.release is not None:
        value["_forge"] = {"release": file.release, "manifest_sha256": file.manifest_sha256}
    if file.requires_python is not None:
        value["requires-python"] = file.requires_python
    if file.metadata_sha256 is not None:
        known = {"sha256": file.metadata_sha256}
        value |= {"core-metadata": known, "dist-info-metadata": known}
    return value


def _anchor(file: IndexFile, files: str) -> str:
    attributes = [f'href="{escape(_url(file, files))}#sha256={file.sha256}"']
    if file.requires_python is not None:
        attributes.append(f'data-requires-python="{escape(file.requires_python)}"')
    if file.yanked is not None:
        attributes.append(f'data-yanked="{escape(file.yanked)}"')
    if file.metadata_sha256 is not None:
        known = f'"sha256={file.metadata_sha256}"'
        attributes += [f"data-core-metadata={known}", f"data-dist-info-metadata={known}"]
    return f"<a {' '.join(attributes)}>{escape(file.filename)}</a><br>"


def _url(file: IndexFile, files: str) -> str:
    # Of the characters that file names of distributions have, + alone means something in URLs.
    return f"{files}{file.sha256}/{file.filename.replace('+', '%2B')}"


def _instant(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%S.%f}Z"
