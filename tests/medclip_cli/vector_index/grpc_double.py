"""A Qdrant server that speaks gRPC on the loopback and keeps its points in qdrant-client's in-memory Qdrant.

It answers the calls that medclip makes, in Qdrant's own messages, and can be told to fail or to refuse.
"""

from collections import defaultdict, deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock

import grpc
from qdrant_client import QdrantClient
from qdrant_client import grpc as messages
from qdrant_client.conversions.conversion import GrpcToRest, RestToGrpc

WRITES = {"Upsert", "Delete", "CreateFieldIndex", "Create", "Update", "UpdateAliases"}


def _done():
    return messages.PointsOperationResponse(
        result=messages.UpdateResult(operation_id=0, status=messages.UpdateStatus.Completed)
    )


class PointsService(messages.PointsServicer):
    """The calls of ``qdrant.Points``."""

    def __init__(self, client):
        self._client = client

    def Upsert(self, request, context):
        points = [GrpcToRest.convert_point_struct(point) for point in request.points]
        self._client.upsert(request.collection_name, points)
        return _done()

    def Delete(self, request, context):
        self._client.delete(request.collection_name, GrpcToRest.convert_points_selector(request.points))
        return _done()

    def CreateFieldIndex(self, request, context):
        return _done()

    def Scroll(self, request, context):
        offset = GrpcToRest.convert_point_id(request.offset) if request.HasField("offset") else None
        records, following = self._client.scroll(
            request.collection_name,
            limit=request.limit,
            offset=offset,
            with_payload=GrpcToRest.convert_with_payload_selector(request.with_payload),
            with_vectors=GrpcToRest.convert_with_vectors_selector(request.with_vectors),
        )
        return messages.ScrollResponse(
            result=[RestToGrpc.convert_record(record) for record in records],
            next_page_offset=RestToGrpc.convert_extended_point_id(following) if following else None,
        )

    def QueryBatch(self, request, context):
        asked = [GrpcToRest.convert_query_points(query) for query in request.query_points]
        answers = self._client.query_batch_points(request.collection_name, asked)
        return messages.QueryBatchResponse(
            result=[
                messages.BatchResult(result=[RestToGrpc.convert_scored_point(hit) for hit in answer.points])
                for answer in answers
            ]
        )

    def Count(self, request, context):
        counted = self._client.count(request.collection_name, exact=request.exact)
        return messages.CountResponse(result=RestToGrpc.convert_count_result(counted))

    def Facet(self, request, context):
        found = self._client.facet(
            request.collection_name, request.key, limit=request.limit, exact=request.exact
        )
        return messages.FacetResponse(hits=[RestToGrpc.convert_facet_value_hit(hit) for hit in found.hits])


class CollectionsService(messages.CollectionsServicer):
    """The calls of ``qdrant.Collections``."""

    def __init__(self, client):
        self._client = client

    def Get(self, request, context):
        info = self._client.get_collection(request.collection_name)
        return messages.GetCollectionInfoResponse(result=RestToGrpc.convert_collection_info(info))

    def List(self, request, context):
        found = self._client.get_collections().collections
        return messages.ListCollectionsResponse(
            collections=[RestToGrpc.convert_collection_description(one) for one in found]
        )

    def CollectionExists(self, request, context):
        exists = self._client.collection_exists(request.collection_name)
        return messages.CollectionExistsResponse(result=messages.CollectionExists(exists=exists))

    def Create(self, request, context):
        done = self._client.create_collection(
            request.collection_name,
            vectors_config=GrpcToRest.convert_vectors_config(request.vectors_config),
            sparse_vectors_config=GrpcToRest.convert_sparse_vector_config(request.sparse_vectors_config),
            metadata=GrpcToRest.convert_payload(request.metadata),
        )
        return messages.CollectionOperationResponse(result=done)

    def Update(self, request, context):
        metadata = GrpcToRest.convert_payload(request.metadata)
        done = self._client.update_collection(request.collection_name, metadata=metadata)
        return messages.CollectionOperationResponse(result=done)

    def Delete(self, request, context):
        done = self._client.delete_collection(request.collection_name)
        return messages.CollectionOperationResponse(result=done)

    def UpdateAliases(self, request, context):
        actions = [GrpcToRest.convert_alias_operations(action) for action in request.actions]
        return messages.CollectionOperationResponse(result=self._client.update_collection_aliases(actions))

    def ListAliases(self, request, context):
        found = self._client.get_aliases().aliases
        return messages.ListAliasesResponse(
            aliases=[
                messages.AliasDescription(alias_name=one.alias_name, collection_name=one.collection_name)
                for one in found
            ]
        )


@dataclass
class GrpcQdrant(grpc.ServerInterceptor):
    """The server as a test sees it: every call passes here first.

    ``faults`` are status codes that the next calls of a name answer with; ``read_only_key`` may do what is
    not in ``WRITES``. ``calls`` names what was asked, ``metadata`` what came along.
    """

    url: str = ""
    key: str | None = None
    read_only_key: str | None = None
    faults: dict = field(default_factory=lambda: defaultdict(deque))
    calls: list = field(default_factory=list)
    metadata: list = field(default_factory=list)
    client: QdrantClient = field(default_factory=lambda: QdrantClient(":memory:"))
    lock: Lock = field(default_factory=Lock)

    def intercept_service(self, continuation, handler_call_details):
        name = handler_call_details.method.rpartition("/")[2]
        metadata = dict(handler_call_details.invocation_metadata)
        handler = continuation(handler_call_details)

        def answer(request, context):
            with self.lock:  # the in-memory Qdrant is no match for several threads
                self.calls.append(name)
                self.metadata.append(metadata)
                if refused := self._refusal(name, metadata.get("api-key")):
                    context.abort(refused, "told to")
                try:
                    return handler.unary_unary(request, context)
                except ValueError as error:
                    missing = "not found" in str(error)
                    status = grpc.StatusCode.NOT_FOUND if missing else grpc.StatusCode.INVALID_ARGUMENT
                    context.abort(status, str(error))

        return grpc.unary_unary_rpc_method_handler(
            answer, handler.request_deserializer, handler.response_serializer
        )

    def _refusal(self, name, key):
        if self.key is not None and key not in (self.key, self.read_only_key):
            return grpc.StatusCode.UNAUTHENTICATED
        if self.key is not None and key != self.key and name in WRITES:
            return grpc.StatusCode.PERMISSION_DENIED
        return self.faults[name].popleft() if self.faults[name] else None


@contextmanager
def grpc_qdrant(credentials=None, **options):
    """Run the server; its URL names the port before its own, as that of Qdrant's REST interface would."""
    double = GrpcQdrant(**options)
    listener = grpc.server(ThreadPoolExecutor(4), interceptors=(double,))
    messages.add_PointsServicer_to_server(PointsService(double.client), listener)
    messages.add_CollectionsServicer_to_server(CollectionsService(double.client), listener)
    if credentials is None:
        double.url = f"http://127.0.0.1:{listener.add_insecure_port('127.0.0.1:0') - 1}"
    else:
        double.url = f"https://localhost:{listener.add_secure_port('localhost:0', credentials) - 1}"
    listener.start()
    try:
        yield double
    finally:
        listener.stop(None).wait()
