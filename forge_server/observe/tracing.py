"""One span for each request, where the operator wants traces (OpenTelemetry, an extra).

Where they go is for the environment to say, as for every program that speaks OpenTelemetry:
``OTEL_EXPORTER_OTLP_ENDPOINT`` and its kin. Spans name routes, never addresses or persons.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from flask import Flask, Response, g, request

from .. import __version__
from ..errors import RegistryError


def start(app: Flask, provider: Any = None) -> None:
    """Makes a span of every request to ``app``. ``provider`` is OpenTelemetry's tracer provider;
    None makes the usual one from the environment.

    Raises:
        RegistryError: the libraries are not installed (``settings-malformed``).
    """
    try:
        from opentelemetry import context, propagate, trace
    except ImportError:
        raise RegistryError(
            "settings-malformed",
            "tracing = true: expected OpenTelemetry, found none installed",
            "pip install 'national-software-forge[tracing]'",
        ) from None
    tracer = trace.get_tracer("forge_server", __version__, provider or _provider())

    @app.before_request
    def _begin() -> None:
        parent = propagate.extract(
            {name.lower(): value for name, value in request.headers.items()}
        )  # W3C Trace Context
        span = tracer.start_span(
            f"{request.method} {_route()}", context=parent, kind=trace.SpanKind.SERVER
        )
        span.set_attribute("http.request.method", request.method)
        span.set_attribute("http.route", _route())
        span.set_attribute("forge.request_id", str(g.request_id))
        g.span = span
        g.span_token = context.attach(trace.set_span_in_context(span))

    @app.after_request
    def _end(response: Response) -> Response:
        if (span := g.get("span")) is not None:
            span.set_attribute("http.response.status_code", response.status_code)
            if response.status_code >= 500:
                span.set_status(trace.StatusCode.ERROR)
        return response

    @app.teardown_request
    def _close(_: BaseException | None) -> None:
        if (span := g.pop("span", None)) is not None:
            with suppress(ValueError):  # detached in another context already
                context.detach(g.pop("span_token"))
            span.end()


def _route() -> str:
    return request.url_rule.rule if request.url_rule is not None else "unknown"


def _provider() -> Any:
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: "forge-server"}))
    with suppress(ImportError):  # without an exporter spans are made and go nowhere
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # type: ignore[import-not-found]
            OTLPSpanExporter,
        )

        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider
