"""Tools for assistants over MCP: recommend, similar and explain."""

from typing import Any

from mcp.server.mcpserver import MCPServer

from bigrec.recommender.bigrec import BIGRec

_MAX_K = 100


def make_server(recommender: BIGRec) -> MCPServer:
    """A server of three tools, which read and never change.

    Args:
        recommender: Answers them.
    """
    item_type = recommender.fitted.item_type
    server = MCPServer("bigrec", instructions=f"Recommends each {item_type} of one catalog.")

    @server.tool()
    def recommend(
        history: list[str], k: int = 10, where: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Recommend items for ids or titles that somebody took, oldest first.

        `where` has conditions on columns, such as {"price": {"lt": 20}}.
        """
        found = recommender.recommend(history, k=min(k, _MAX_K), where=where, unknown="skip")
        items = found.to_frame().to_dicts()
        return {"items": items, "source": found.source, "unknown": list(found.unknown)}

    @server.tool()
    def similar(item: str, k: int = 10) -> dict[str, Any]:
        """List the items whose titles are nearest to that of an id or title."""
        return {"items": recommender.similar(item, k=min(k, _MAX_K)).to_frame().to_dicts()}

    @server.tool()
    def explain(history: list[str], item: str) -> dict[str, Any]:
        """Tell why an item is where it is in the ranking for a history."""
        return recommender.explain(history, item, unknown="skip").to_dict()

    return server
