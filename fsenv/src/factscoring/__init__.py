"""Reference-based scoring: responses -> atomic facts -> passages of the topic's page -> verdicts -> scores.

    factscore  rejudge  score        what is run: the stage, a second verifier, any text on its own
    scorer  backends  estimate       the evaluator, how one is put together, what it would cost
    extraction  facts                atomic facts by: grammar | clauses (rules) | fact_list and prompts (llm)
    sentences  splitter  names  abstention   text: sentences, words, who is spoken of, who declines to answer
    knowledge  knowledge_file        FActScore's SQLite file, read; and written, by build_knowledge
    retrieval  bm25  dense           passages within one page, by words or by vectors
    judgements  verdict  llm_verdict  local  npm     is a fact supported: by words, a service, a causal and a masked model
    scores  compat                   the scores of a response; what differs between Transformers versions
"""
