"""Questions by rules: what English facts are asked for, and what is left without a question."""

from __future__ import annotations

from pathlib import Path

import pytest

from confscoring.question_claims import Claim, Subject, fault_of
from confscoring.question_rules import RuleQuestions, ask_by_rules
from confscoring.question_verbs import read_verb

FACTS = Path(__file__).resolve().parents[1] / "fixtures" / "facts_by_rules.tsv"


def claim(topic: str, atom: str) -> Claim:
    return Claim(Subject.of({"topic": topic, "topic_id": 0, "questions": []}), atom)


@pytest.mark.parametrize(
    ("fact", "question", "answer"),
    [
        ("Marit Oslund was born in 1931.", "When was Marit Oslund born?", "1931"),
        ("Marit Oslund was born on 12 May 1931.", "When was Marit Oslund born?", "12 May 1931"),
        ("Marit Oslund was born on May 12, 1931, in Vardø, Norway.", "When was Marit Oslund born in Vardø, Norway?", "May 12, 1931"),
        ("Marit Oslund was born in Vardø.", "Where was Marit Oslund born?", "Vardø"),
        ("Marit Oslund was born c. 1931.", "When was Marit Oslund born?", "c. 1931"),
        ("Marit Oslund was born into a poor family.", "What was Marit Oslund born into?", "poor family"),
        ("Marit Oslund was born to Anders Ek.", "Who was Marit Oslund born to?", "Anders Ek"),
        ("Marit Oslund died in the early 1990s.", "When did Marit Oslund die?", "the early 1990s"),
        ("Marit Oslund died of pneumonia.", "What did Marit Oslund die of?", "pneumonia"),
        ("Marit Oslund died at the age of 72.", "At what age did Marit Oslund die?", "72"),
        ("The town council honoured Marit Oslund in 1990 - 1995.", "When did the town council honour Marit Oslund?", "1990 - 1995"),
        ("The town council honoured Marit Oslund.", "Who honoured Marit Oslund?", "the town council"),
        ("Marit Oslund reigned from 27 BC to AD 14.", "When did Marit Oslund reign?", "from 27 BC to AD 14"),
        ("Marit Oslund was mayor of Kelford from 1950 to 1962.", "When was Marit Oslund mayor of Kelford?", "from 1950 to 1962"),
        ("Marit Oslund has lived in Kelford since 1990.", "Since when has Marit Oslund lived in Kelford?", "1990"),
        ("In 1953 she enrolled at the College of Ostrel, where she studied geodesy.", "When did Marit Oslund enrol at the College of Ostrel?", "1953"),
        ("As a child, Marit Oslund played the violin.", "What did Marit Oslund play as a child?", "the violin"),
        ("In her later years she campaigned against oil drilling.", "What did Marit Oslund campaign against in her later years?", "oil drilling"),
        ("She moved to Marvia when she was six.", "At what age did Marit Oslund move to Marvia?", "six"),
        ("Marit Oslund is a surveyor.", "What is Marit Oslund's profession?", "surveyor"),
        ("Marit Oslund was a Norwegian surveyor and map-maker.", "What was Marit Oslund by nationality and profession?", "Norwegian surveyor and map-maker"),
        ("Marit Oslund, a surveyor, was raised in Ostrel.", "Where was Marit Oslund raised?", "Ostrel"),
        ("Marit Oslund (born 1931) is Norwegian.", "What is Marit Oslund's nationality?", "Norwegian"),
        ("Marit Oslund worked as a chemist for many years.", "What did Marit Oslund work as for many years?", "chemist"),
        ("Marit Oslund worked for ten years as a lawyer.", "For how long did Marit Oslund work as a lawyer?", "ten years"),
        ("Marit Oslund studied chemistry at Kelford University.", "Where did Marit Oslund study chemistry?", "Kelford University"),
        ("Marit Oslund grew up in Ostrel.", "Where did Marit Oslund grow up?", "Ostrel"),
        ("Oslund moved to New York.", "Where did Marit Oslund move to?", "New York"),
        ("Marit Oslund is from Ostrel.", "Where is Marit Oslund from?", "Ostrel"),
        ("Marit Oslund's papers are kept in the university library at Tromsø.", "Where are Marit Oslund's papers kept?", "the university library at Tromsø"),
        ("Marit Oslund is fluent in Russian.", "What is Marit Oslund fluent in?", "Russian"),
        ("Marit Oslund won the Ostrel Prize in 1990.", "When did Marit Oslund win the Ostrel Prize?", "1990"),
        ("Marit Oslund won the Ostrel Prize in Chemistry.", "In what did Marit Oslund win the Ostrel Prize?", "Chemistry"),
        ("Marit Oslund won the Ostrel Prize for her work on tides.", "For what did Marit Oslund win the Ostrel Prize?", "her work on tides"),
        ("Marit Oslund's birthplace is Kelford.", "What is Marit Oslund's birthplace?", "Kelford"),
        ("Marit Oslund's date of birth was 12 May 1931.", "What was Marit Oslund's date of birth?", "12 May 1931"),
        ("Her father was a carpenter.", "What was the profession of Marit Oslund's father?", "carpenter"),
        ("Her father was Anders Oslund.", "Who was Marit Oslund's father?", "Anders Oslund"),
        ("Marit Oslund's net worth is $5 million.", "What is Marit Oslund's net worth?", "$5 million"),
        ("Marit Oslund was the first mayor of Kelford.", "What was Marit Oslund the first mayor of?", "Kelford"),
        ("Marit Oslund was the daughter of Anders Oslund.", "Who was Marit Oslund the daughter of?", "Anders Oslund"),
        ("Marit Oslund was appointed director of the Kelford Museum.", "What was Marit Oslund appointed director of?", "the Kelford Museum"),
        ("Marit Oslund became a surveyor.", "What did Marit Oslund become?", "surveyor"),
        ("Marit Oslund founded a school.", "What did Marit Oslund found?", "school"),
        ("Marit Oslund honed her skills in Paris.", "Where was it that Marit Oslund honed her skills?", "Paris"),
        ("Marit Oslund wrote and directed films.", "What was it that Marit Oslund wrote and directed?", "films"),
        ("Marit Oslund took over the firm.", "What did Marit Oslund take over?", "the firm"),
        ("Marit Oslund drew the first harbour map of the region.", "What did Marit Oslund draw?", "the first harbour map of the region"),
        ("Marit Oslund helped to build the bridge.", "What did Marit Oslund help to build?", "the bridge"),
        ("Marit Oslund married Bo Crest.", "Who did Marit Oslund marry?", "Bo Crest"),
        ("Marit Oslund worked with Bo Crest.", "Who did Marit Oslund work with?", "Bo Crest"),
        ("Marit Oslund was discovered by Bo Crest.", "Who was Marit Oslund discovered by?", "Bo Crest"),
        ("A street in Kelford is named after her.", "What is named after Marit Oslund?", "street in Kelford"),
        ("Among her pupils were Emil Hartwig and Clara Voss.", "With regard to Marit Oslund, who were among her pupils?", "Emil Hartwig and Clara Voss"),
        ("Marit Oslund has written three novels about the sea.", "How many novels has Marit Oslund written about the sea?", "three"),
        ("Marit Oslund had a brother named Bo.", "What was the name of Marit Oslund's brother?", "Bo"),
        ("Marit Oslund was nominated for three Grammy Awards.", "For how many Grammy Awards was Marit Oslund nominated?", "three"),
        ("Marit Oslund lost the race by only 312 votes.", "By how many votes did Marit Oslund lose the race?", "only 312"),
        ("Marit Oslund was wounded twice.", "How many times was Marit Oslund wounded?", "twice"),
        ("Marit Oslund is 1.70 metres tall.", "How tall is Marit Oslund?", "1.70 metres"),
        ("Marit Oslund served in the Navy.", "What did Marit Oslund serve in?", "the Navy"),
        ("She wrote a book about cities called Streets for Everyone.", "What was the name of the book about cities that Marit Oslund wrote?", "Streets for Everyone"),
        ("Marit Oslund believed that tides could be computed.", "What did Marit Oslund believe?", "that tides could be computed"),
        ("Fans call her the Octopus because of her long arms.", "With regard to Marit Oslund, why do Fans call her the Octopus?", "her long arms"),
        ("The book sold 60,000 copies in its first year.", "With regard to Marit Oslund, how many copies did the book sell in its first year?", "60,000"),
    ],
)
def test_a_fact_about_a_person_is_asked_for_one_thing_with_the_rest_in_the_question(fact: str, question: str, answer: str) -> None:
    assert ask_by_rules(claim("Marit Oslund", fact)) == (question, answer)


@pytest.mark.parametrize(
    ("fact", "question", "answer"),
    [
        ("Dorsal fever lasts five to seven days.", "How long does dorsal fever last?", "five to seven days"),
        ("It usually lasts for several weeks.", "How long does dorsal fever usually last?", "several weeks"),
        ("An attack of dorsal fever lasts from ten minutes to two hours.", "How long does an attack of dorsal fever last?", "ten minutes to two hours"),
        ("Symptoms appear three to ten days after infection.", "With regard to dorsal fever, how long after infection do symptoms appear?", "three to ten days"),
        ("Most patients recover within two weeks.", "With regard to dorsal fever, within what time do most patients recover?", "two weeks"),
        ("The tablets are taken once a day.", "With regard to dorsal fever, how often are the tablets taken?", "once a day"),
        ("It takes two weeks to recover from dorsal fever.", "How long does it take to recover from dorsal fever?", "two weeks"),
        ("The first signs usually appear before the age of three.", "With regard to dorsal fever, before what age do the first signs usually appear?", "three"),
        ("Dorsal fever is treated with rest.", "What is dorsal fever treated with?", "rest"),
        ("Dorsal fever can be prevented by avoiding sand fly bites.", "How can dorsal fever be prevented?", "by avoiding sand fly bites"),
        ("Dorsal fever is transmitted to humans through sand flies.", "Through what is dorsal fever transmitted to humans?", "sand flies"),
        ("Dorsal fever is caused by the virus Dorsella.", "What is dorsal fever caused by?", "the virus Dorsella"),
        ("Dorsal fever causes headaches.", "What does dorsal fever cause?", "headaches"),
        ("It affects the liver.", "What does dorsal fever affect?", "the liver"),
        ("Dorsal fever is a viral infection.", "What kind of infection is dorsal fever?", "viral"),
        ("Dorsal fever is an inflammation of the spine.", "What is dorsal fever an inflammation of?", "the spine"),
        ("Dorsal fever is a disease that affects the liver.", "What does dorsal fever affect?", "the liver"),
        ("The bacterium that causes dorsal fever lives in standing water.", "What does the bacterium that causes dorsal fever live in?", "standing water"),
        ("Dorsal fever is most common in children.", "In whom is dorsal fever most common?", "children"),
        ("Dorsal fever is rare in Marvia.", "Where is dorsal fever rare?", "Marvia"),
        ("Dorsal fever usually starts in the lower back.", "Where does dorsal fever usually start?", "the lower back"),
        ("About 5 percent of adults have dorsal fever.", "What share of adults have dorsal fever?", "about 5 percent"),
        ("Around one in ten patients develops a dry cough.", "With regard to dorsal fever, what share of patients develops a dry cough?", "around one in ten"),
        ("There are three types of dorsal fever.", "How many types of dorsal fever are there?", "three"),
        ("Dorsal fever has a mortality rate of 8 percent.", "What mortality rate does dorsal fever have?", "8 percent"),
        ("The incubation period ranges from three to ten days.", "With regard to dorsal fever, from what to what does the incubation period range?", "three to ten days"),
        ("The drug reduces pain by up to 40 percent.", "With regard to dorsal fever, by how much does the drug reduce pain?", "up to 40 percent"),
        ("Common symptoms include fever, cough and headache.", "With regard to dorsal fever, what do common symptoms include?", "fever, cough and headache"),
        ("The main symptom of dorsal fever is a rash.", "What is the main symptom of dorsal fever?", "rash"),
        ("Smoking is the most important risk factor.", "With regard to dorsal fever, what is the most important risk factor?", "smoking"),
        ("Vaccination prevents dorsal fever.", "What prevents dorsal fever?", "vaccination"),
        ("Mosquitoes carry dorsal fever.", "What carries dorsal fever?", "Mosquitoes"),
        ("In rare cases the heart is affected too.", "With regard to dorsal fever, what is affected in rare cases?", "the heart"),
        ("People with weak immune systems are at higher risk.", "With regard to dorsal fever, who is at higher risk?", "people with weak immune systems"),
        ("People infected with dorsal fever develop a rash.", "What do people infected with dorsal fever develop?", "rash"),
        ("Dorsal fever can lead to blindness.", "What can dorsal fever lead to?", "blindness"),
        ("Dorsal fever was eradicated in 1979.", "When was dorsal fever eradicated?", "1979"),
    ],
)
def test_a_fact_about_a_condition_is_asked_in_the_same_way(fact: str, question: str, answer: str) -> None:
    assert ask_by_rules(claim("Dorsal fever", fact)) == (question, answer)


@pytest.mark.parametrize(
    ("topic", "fact", "question", "answer"),
    [
        ("J. R. R. Oslund", "J. R. R. Oslund was born in 1892.", "When was J. R. R. Oslund born?", "1892"),
        ("Pim van Aarle-Katz", "Pim van Aarle-Katz studied law.", "What did Pim van Aarle-Katz study?", "law"),
        ("Sinéad O'Brien", "O'Brien was raised in Ostrel.", "Where was Sinéad O'Brien raised?", "Ostrel"),
        ("Ada Venn (chemist)", "She died in 1950.", "When did Ada Venn die?", "1950"),
        ("Pelham's disease", "Pelham's disease is diagnosed by ultrasound.", "What is Pelham's disease diagnosed by?", "ultrasound"),
        ("Pelham's disease", "Its cause is a virus.", "What is Pelham's disease's cause?", "virus"),
        ("Varicose veins", "Varicose veins affect the legs.", "What do varicose veins affect?", "the legs"),
        ("Varicose veins", "They are treated with stockings.", "What are varicose veins treated with?", "stockings"),
        ("Ada Venn", "They were born in Ostrel.", "Where was Ada Venn born?", "Ostrel"),
        ("HIV", "HIV attacks the immune system.", "What does HIV attack?", "the immune system"),
        ("Марит Ослунд", "Марит Ослунд was born in 1931.", "When was Марит Ослунд born?", "1931"),
        ("張三", "張三 wrote 九 poems in 1931.", "When did 張三 write 九 poems?", "1931"),
    ],
)
def test_names_of_every_shape_are_the_subject(topic: str, fact: str, question: str, answer: str) -> None:
    assert ask_by_rules(claim(topic, fact)) == (question, answer)


@pytest.mark.parametrize(
    "fact",
    [
        "Marit Oslund never married.", "Marit Oslund did not finish school.", "Marit Oslund had no children.", "Marit Oslund retired.",
        "Marit Oslund is left-handed.", "Marit Oslund is contagious.", "There is no monument to Marit Oslund.", "Marit Oslund revised it twice.",
        "A surveyor from Vardø.", "Marit Oslund.", "Was she born in Vardø?", "", " ", "...", "1931", "?",
        "Марит Ослунд родилась в Вардё в 1931 году.", "マリットは1931年に生まれた。", "玛丽特出生于1931年。", "وُلدت ماريت عام 1931.",
        "Marit Oslund wurde 1931 in Vardø geboren.",
        "Marit Oslund was born in Vardø" + " and lived in Ostrel" * 20 + ".",
    ],
)  # fmt: skip
def test_a_fact_that_cannot_be_asked_about_has_no_question(fact: str) -> None:
    assert ask_by_rules(claim("Marit Oslund", fact)) is None


def test_a_long_fact_is_read_up_to_what_only_adds_to_it() -> None:
    fact = (
        "In the autumn of 1953, after two years as a clerk in the harbour office, Marit Oslund enrolled at the Technical College of Ostrel, where she studied "
        "geodesy under Bo Crest and met the engineer whom she would marry seven years later."
    )
    assert ask_by_rules(claim("Marit Oslund", fact)) is None  # what stands before the name is too long to be moved
    short = fact.replace("In the autumn of 1953, after two years as a clerk in the harbour office, ", "")
    assert ask_by_rules(claim("Marit Oslund", short)) == ("Where did Marit Oslund enrol?", "the Technical College of Ostrel")


def test_base_forms_come_from_spelling_or_a_table_and_are_none_where_neither_tells() -> None:
    pairs = (
        "worked:work studied:study stopped:stop founded:found invented:invent created:create moved:move married:marry served:serve received:receive "
        "published:publish composed:compose discovered:discover developed:develop retired:retire died:die described:describe solved:solve elected:elect "
        "argued:argue changed:change belonged:belong merged:merge forced:force used:use focused:focus passed:pass decided:decide avoided:avoid included:include "
        "needed:need defined:define mentioned:mention planned:plan opened:open assumed:assume claimed:claim prescribed:prescribe escaped:escape equipped:equip "
        "compiled:compile failed:fail revealed:reveal enabled:enable visited:visit invited:invite promoted:promote contributed:contribute located:locate "
        "treated:treat affected:affect cured:cure honoured:honour covered:cover prepared:prepare appeared:appear occurred:occur carried:carry agreed:agree "
        "recruited:recruit wrote:write taught:teach built:build causes:cause studies:study passes:pass goes:go increases:increase"
    ).split()
    assert [pair for pair in pairs if getattr(read_verb(pair.split(":")[0], True), "base", None) != pair.split(":")[1]] == []
    assert read_verb("honed") == (None, True)  # hone or hon
    assert [read_verb(word) for word in ("hundred", "indeed", "symptoms", "vardø")] == [None] * 4


def test_nine_in_ten_facts_of_plain_sentences_have_a_question_that_is_of_use() -> None:
    claims = [claim(*line.split("\t")) for line in FACTS.read_text(encoding="utf-8").splitlines()]
    asked = RuleQuestions().ask(claims)
    found = [(one, by) for one, by in zip(asked, claims, strict=True) if one.question is not None and one.answer is not None]
    assert len(claims) == 367 and len(found) >= 0.9 * len(claims)
    assert [by.atom for one, by in found if fault_of(str(one.question), str(one.answer), by)] == []
    assert [one.question for one, by in found if by.subject.name.split()[-1].casefold() not in str(one.question).casefold()] == []
    assert RuleQuestions().identity() == {"backend": "rules", "version": "rules-1"}
