"""What clouds change of the vendors' formats: Azure's deployments in the path, Vertex's publishers and access tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.support.script import Request
from tests.support.vendor import Answer, Vendor, encode
from tests.support.wire_google import GoogleWire
from tests.support.wire_openai import OpenAIWire


class AzureWire(OpenAIWire):
    """`Wire` for Azure OpenAI: the deployment is in the path and the version in the query; the key has a header of its own."""

    def endpoint(self, request: Request) -> tuple[str, str]:
        parts = request.path.split("/")
        chat = parts[1:3] == ["openai", "deployments"] and parts[4:] == ["chat", "completions"]
        if request.method == "POST" and chat and request.query.get("api-version"):
            return "chat", parts[3]
        return "other", ""

    def key(self, request: Request) -> str | None:
        return request.headers.get("api-key")


class VertexWire(GoogleWire):
    """`Wire` for Vertex AI, with the endpoint that gives access tokens to service accounts."""

    place = "/v1beta1/projects/my-project/locations/europe-west1/publishers/google/models/"

    def endpoint(self, request: Request) -> tuple[str, str]:
        if request.method == "GET" and request.path == "/v1beta1/publishers/google/models":
            return "list", ""
        model, _, verb = request.path.removeprefix(self.place).partition(":")
        if request.method == "POST" and request.path.startswith(self.place) and verb == "streamGenerateContent":
            return "chat", model
        return "other", ""

    def key(self, request: Request) -> str | None:
        return request.headers.get("authorization", "").removeprefix("Bearer ") or None

    def entry(self, model: str, created: str) -> dict[str, Any]:
        return {"name": f"publishers/google/models/{model}", "versionId": "default", "launchStage": "GA"}

    def identity(self, entry: Mapping[str, Any]) -> str:
        return str(entry["name"]).rpartition("/")[2]

    def listing(self, vendor: Vendor, request: Request) -> Answer:
        start, size = int(request.query.get("pageToken") or 0), vendor.page_size or 100
        body: dict[str, Any] = {"publisherModels": vendor.models[start : start + size]}
        if start + size < len(vendor.models):
            body["nextPageToken"] = str(start + size)
        return Answer(encode(body))

    def other(self, vendor: Vendor, request: Request) -> Answer | None:
        if request.method == "POST" and request.path == "/token":
            return Answer(encode({"access_token": "token-of-the-account", "expires_in": 3600, "token_type": "Bearer"}))
        return None
