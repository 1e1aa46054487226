"""Near duplicates: MinHash signatures, bands, connected components, and the documents without those dropped.

    sign     a document's words -> signature -> a record for each band, partitioned by the band's key
    match    documents with an equal key -> an edge from each to the first of them
    join     rounds over the edges, partitioned by document, until each leads to the first of its component
    locate   the documents to drop -> the shards that they are in
    keep     the document shards without them

Every step is a stage of units, and a unit holds a bounded part of its partition at a time.
"""
