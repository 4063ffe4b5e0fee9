"""Reference-based scoring: responses -> atomic facts -> passages of the topic's page -> verdicts -> scores.

    sentences  names        text: sentences, words, who is spoken of
    grammar                 atomic facts of the synthetic world's sentences
    knowledge  bm25  retrieval   FActScore's SQLite file; passages within one page
    verdict  scores         is a fact supported; the scores of a response
    factscore               the stage; build_knowledge writes a knowledge base from JSON lines
"""
