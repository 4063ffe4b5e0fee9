"""English words by which the backend `rules` reads a clause and chooses what to ask for."""

from __future__ import annotations

import re

BE = frozenset("is are was were".split())
HAVE = frozenset("has have had".split())
DO = frozenset("does do did".split())
MODALS = frozenset("can could may might must shall should will would".split())
NEGATIONS = frozenset("not never no cannot neither nor hardly".split())
# Adverbs beside a verb; where the first group stands a verb follows, and the third says nothing that a question needs.
BEFORE_VERB = frozenset("often usually typically generally commonly sometimes rarely always".split())
ADVERBS = BEFORE_VERB | frozenset("best well later still mostly mainly primarily once twice first soon eventually since already now ever".split())
IDLE = frozenset("also then thus therefore however moreover additionally furthermore reportedly notably".split())
NO_ADVERBS = frozenset(
    "family only early likely elderly daily deadly friendly costly italy sicily july fly supply apply reply rely multiply comply ally assembly anomaly".split()
)
DETERMINERS = frozenset(
    "a an the his her their its this that these those some many most several few all both any each every other such no one two three four five".split()
)
BEFORE_NOUN = frozenset("of by with for and or in to from at on".split())
# Words that begin a sentence as a subject; they lose their capital within a question. Others may be names and keep it.
COMMON = frozenset(
    "it symptoms signs treatment treatments patients people children adults women men infants babies causes complications diagnosis prevention risk factors "
    "common early late severe mild chronic acute untreated young older pregnant healthy infected affected doctors physicians drugs antibiotics vaccines "
    "vaccination recovery recurrence surgery medication medications medicine exercise smoking pain fever cough researchers scientists critics "
    "about around over more less nearly roughly almost approximately in on at for during with after before by from".split()
)
PARTICLES = frozenset("up out away back down together apart abroad".split())
BESIDE = frozenset(("take over", "take on", "carry on", "go on", "pass on", "put on", "turn off", "shut off"))  # verbs with a preposition of their own

# What cannot be an object: "died young".
NO_OBJECT = frozenset(
    "young early late well alone abroad home forever again rapidly suddenly together independently naturally freely quickly slowly widely worldwide overseas "
    "there here first last everywhere twice once daily".split()
)
PLAIN = frozenset("common rare unknown good poor severe mild serious safe high low simple similar different unclear likely red ill young old true false".split())
ADJECTIVE = re.compile(r"(?:ful|ous|al|ic|ive|able|ible|less|ary|ory|ent|ant|ated|ing|ish|y|ar)$")

# Verbs, by what follows them.
INTRANSITIVE = frozenset(
    "be die live move go come grow fall stay sit stand lie retire return arrive appear disappear occur happen travel work sleep swim arise emerge reside "
    "get settle emigrate vary exist persist agree".split()
)
NAMING = frozenset("name call".split())
BECOMING = frozenset("become appoint elect name make crown remain declare call".split())
WHOM = frozenset(
    "marry meet succeed defeat beat replace teach mentor tutor kill love interview befriend adopt employ hire coach divorce assassinate father portray help "
    "assist accompany influence inspire train".split()
)
TAKING = frozenset("last take persist continue stay remain survive incubate".split())  # a length of time
WHOLE = frozenset("include cause contain comprise involve feature need require".split())  # "includes pain in the back" is asked for as a whole
TO_THINGS = frozenset("lead contribute refer respond belong relate amount react attribute link connect expose reduce due limit".split())
TO_PEOPLE = frozenset("marry engage introduce give teach sell send bear apprentice relate write dedicate compare hand".split())
MOTION = frozenset(
    "move emigrate immigrate migrate travel return go come flee relocate transfer send deport exile escape walk sail fly retire hail graduate drop belong "
    "evacuate".split()
)
# Verbs whose "in X" is no place ("specialise in X"), those whose "in X", "at X" is one, and those whose "on X" is one.
INVOLVED = frozenset(
    "specialise specialize major result believe participate compete consist engage invest succeed star appear feature act involve interest graduate play "
    "assist fail culminate end mention describe include publish enlist enrol".split()
)
SOMEWHERE = frozenset(
    "arrive base bear begin build bury camp compete cremate dance develop die direct discover divide dwell educate employ enrol establish exhibit farm fight "
    "find form found go grow happen headquarter hold house imprison inter intern kill land launch lecture lie live locate make marry meet move occur open "
    "operate originate paint perform practise practice preach premiere preside produce publish raise record reside rest retire rule serve set settle shoot "
    "sing situate spend stand start station stay study take teach tour train travel work write appear".split()
)
SITED = frozenset("live lie sit locate situate find grow stand settle bear die occur appear build bury found".split())
NOT_IN_A = frozenset("work play study train write take".split())  # "in a hurry" is no place for these

# Nouns.
PROFESSIONS = (
    "actor actress ambassador anchor architect artist astronaut athlete attorney author baker ballerina banker baritone bishop blacksmith bookbinder boxer "
    "builder bureaucrat butcher captain carpenter cartographer chancellor chef clerk coach comedian composer conductor cook critic dancer dean designer "
    "detective diplomat director doctor draughtsman driver economist editor engineer engraver entrepreneur executive explorer farmer filmmaker fisherman "
    "footballer gardener general geographer goalkeeper governor guitarist headmaster hunter illustrator instructor inventor jeweller jockey journalist judge "
    "king lawyer lecturer librarian magistrate mathematician mayor mechanic merchant midwife miller miner minister missionary model monk musician nun nurse "
    "officer painter pastor philosopher photographer physician pilot pirate playwright poet politician potter preacher president priest prince princess "
    "principal printer prosecutor producer professor programmer publisher queen rapper reporter researcher sailor saxophonist scholar scientist sculptor "
    "senator sheriff shoemaker singer soldier songwriter soprano spy statesman statistician student surgeon surveyor swimmer tailor teacher tenor trader "
    "trumpeter tutor vet violinist watchmaker weaver wrestler writer"
).replace(" ", "|")
PROFESSION = re.compile(rf"(?:^|.*[ -])(?:{PROFESSIONS}|[a-z]*(?:wright|smith|maker|keeper|player)|[a-z]+(?:ologist|ographer|ician|ist))s?$")
RELATIVES = frozenset(
    "father mother parents son daughter child children brother sister sibling siblings wife husband spouse partner uncle aunt nephew niece cousin grandfather "
    "grandmother grandson granddaughter friend teacher mentor student pupil successor predecessor".split()
)
PEOPLE = re.compile(
    r"\b(?:people|persons|adults|children|women|men|infants|babies|boys|girls|patients|males|females|teenagers|adolescents|smokers|travellers|farmers|students)"
    r"(?: (?:under|over|aged|with|without|of) [^,]+)?$"
)
_SITES = (
    "village|town|city|country|port|harbour|garden|church|museum|library|theatre|theater|school|college|university|hospital|castle|station|airport|prison"
)
PLACE_NOUN = re.compile(
    rf"\b(?:{_SITES}|municipality|commune|parish|district|county|province|region|state|capital|island|river|lake|mountain|hill|valley|bay|street|square|park|"
    r"cathedral|bridge|suburb|neighbourhood|neighborhood)$"
)
PLACES = re.compile(
    rf"\b(?:(?:{_SITES}|office|factory|laboratory|mill|mine|shop|studio|archive|clinic|farm|cemetery|garage|kitchen|court)s?(?: (?:of|at|in|near) .+)?$|"
    r"areas?|regions?|countries|places|climates|cities|wetlands|towns|villages|tropics|coasts?|parts of the world\b)"
)
THERE = re.compile(r"(?:common|rare|widespread|popular|available|active|famous|endemic|present|prevalent|successful)$")  # "rare in Marvia"
# "A prize in chemistry" is no place.
FIELD = re.compile(
    r"\b(?:degree|doctorate|PhD|Ph\.D\.|diploma|bachelor's|master's|MA|BA|MSc|BSc|prize|Prize|medal|award|Award|interest|career|course|courses|role|part|"
    r"interested|expert|specialist|pioneer|increase|decrease|decline|change|changes|experience|training|success|Master of \w+|Bachelor of \w+|believer|honours)$"
)
# Nouns that say only of what kind a thing is: "a viral infection" -> "What kind of infection".
KIND = re.compile(
    r"^an? (?P<kind>(?:(?!(?:of|in|for|with|by|to|that)\b)[\w-]+(?:,| and)? ){1,4})(?P<noun>disease|condition|infection|disorder|illness|syndrome|cancer|"
    r"tumou?r|fever|injury|virus|bacterium|parasite|drug|medication|vaccine|hormone|vitamin|procedure|therapy|novel|film|movie|album|song|band|company|school|"
    r"university|newspaper|magazine|language|religion|game|instrument|plant|animal|bird|fish)$"
)
_BODIES = (
    "Society|Orchestra|Party|Union|Prize|Award|Medal|Club|Council|Committee|Board|Ministry|Department|Army|Navy|Force|Forces|Press|Records|Pictures|Group|Team|"
    "Association|Federation|Foundation|League|Parliament|Congress|Government|War|Revolution|Festival|Games|Olympics|Cup|Championships?|Times|Post|Journal|Magazine"
)
BODY = re.compile(rf"\b(?:{_BODIES})\b")  # what one is in without being there
ORGANISATION = re.compile(
    rf"\b(?:{_BODIES}|University|College|School|Academy|Institute|Institution|Hospital|Museum|Gallery|Company|Works|Church|Studios?|Theatre|Theater|Opera|Bank|"
    r"Corporation|Inc|Ltd|Court|Empire|Republic|Kingdom|States|River|Lake|Sea|Ocean|Bay|Islands?|Mountains?|Street|Hall|Park)\b"
)
PERSON_NAME = re.compile(
    r"^(?:(?:Dr|Sir|Dame|Lord|Lady|King|Queen|Prince|Princess|Professor|Saint|St|Mr|Mrs)\.? )?(?:[^\W\d_a-z][\w'’-]*\.?)"
    r"(?: (?:van|von|de|der|den|la|le|da|di|bin|ibn|of))*(?: [^\W\d_a-z][\w'’-]*\.?){1,3}$"
)
