"""Texts about the same invented matters, faithful and unfaithful, for the checks that look at what a text says.

Each `Matter` has a post with a false claim, sources, faithful texts, and unfaithful ones by the principle they break. Invented; three languages.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Matter:
    post: str
    sources: tuple[str, ...]
    faithful: tuple[str, ...]
    unfaithful: dict[str, tuple[str, ...]] = field(default_factory=dict)
    language: str = "en"
    lent: tuple[bool, ...] = ()


L1, L2 = "https://lindow.example/report", "https://fire.example/log"

MATTERS = (
    Matter(
        "The council of Lindow knew about the fire and sent nobody! 90 people lost their homes.",
        (
            f"The council sent 31 firefighters to the Lindow fire on 4 May 2021, its log shows. {L2}",
            f"According to the county report 12 people lost their homes in Lindow, not 90. The cause is still under investigation. {L1}",
        ),
        (
            f"The council sent 31 firefighters to the fire in Lindow on 4 May 2021. {L2}",
            f"12 people lost their homes, not 90, according to the county report. {L1}",
            f"It is false that the council sent nobody: its log shows 31 firefighters. {L2}",
            f"The post claims that 90 people lost their homes; the county report gives 12. {L1}",
            f"The cause of the fire is still under investigation, says the county report. {L1}",
        ),
        {
            "claim": (
                f"The council knew about the fire and sent nobody. {L2}",
                f"The council of Lindow sent nobody to the fire on 4 May 2021. {L2}",
                f"90 people lost their homes in the Lindow fire. {L1}",
                f"Nobody was sent to the fire by the council. {L2}",
                f"The council knew about the fire. It sent 31 firefighters. {L2}",
                f"90 people lost their homes. The county report says 12 people lost their homes. {L1}",
                f"In Lindow, 90 people lost their homes and 31 firefighters came. {L2}",
            ),
            "consistency": (
                f"12 people lost their homes in Lindow. The council sent 31 firefighters. No people lost their homes in Lindow. {L1}",
                f"The council sent 31 firefighters to the fire. The council did not send firefighters to the fire. {L2}",
            ),
            "accusation": (
                f"The council ignored the fire and 12 people lost their homes. {L1}",
                f"The council covered up the fire in Lindow. {L1}",
                f"Officials of the council lied about the Lindow fire. {L1}",
                f"The council was guilty of the fire in Lindow. {L1}",
            ),
            "disputed": (
                f"The cause of the fire was not arson. {L1}",
                f"It is false that the cause of the fire is under review. {L1}",
            ),
            "motive": (
                f"The figure of 12 homes was left out to scare people in Lindow. {L1}",
                f"The council sent 31 firefighters because it wants to win votes. {L2}",
                f"The claim is designed to mislead voters; 12 people lost their homes. {L1}",
            ),
            "opinion": (
                f"Anyone who has been to Lindow knows that 12 people lost their homes. {L1}",
                f"Frankly, 12 people lost their homes in Lindow. {L1}",
                f"90 homes is a joke: 12 people lost their homes, not 90. {L1}",
                f"12 people lost their homes. It's called COUNTING. {L1}",
                f"12 people lost their homes, which every child can see. {L1}",
                f"Do people really believe that 90 lost their homes? The report says 12. {L1}",
                f"The council should be ashamed; 12 people lost their homes. {L1}",
                f"12 people lost their homes in Lindow, as everybody knows. {L1}",
            ),
            "finished": (
                f"According to the county report ({L1}) 12 people lost their homes in Lindow, as the",
                f"The council sent 31 firefighters to the Lindow fire on 4 May 2021, its {L2} log shows that",
                f"The council sent 31 firefighters the Lindow fire on 4 May 2021, its log shows. {L2}",
                f"The council sent sent 31 firefighters to the Lindow fire on 4 May 2021. {L2}",
                f"12 people lost their homes in Lindow. In Lindow 12 people lost their homes. {L1}",
                f"<the text of the note> {L1}",
                f"12 people lost their homes in Lindow. [insert link here] {L1}",
                f"At least one link if the notes have any, copied letter by letter. {L1}",
            ),
            "talk": (
                f"The notes say that 12 people lost their homes in Lindow. {L1}",
                f"Readers of both sides found that 12 people lost their homes. {L1}",
                f"Several notes agree: the council sent 31 firefighters. {L2}",
                f"The first note says that the council sent 31 firefighters. {L2}",
            ),
        },
    ),
    Matter(
        "Canada has 90 million people and exports fell by 60 percent!!",
        (
            f"Canada has 34 million people, not 90 million. {L1}",
            f"The population is 27 million. Exports fell by 32 % in the last quarter. {L2}",
            f"Exports fell by 45 % in the last quarter, the bank counted on 3 March 2022. {L1}",
            f"The count was published on 9 June 2021. {L2}",
        ),
        (
            f"Canada has 34 million people, not 90 million. {L1}",
            f"Exports fell by 32 % in the last quarter, not by 60 percent. {L2}",
            f"Canada has 34 million people. Exports fell by 45 % in the last quarter. {L1}",
        ),
        {
            "consistency": (
                f"Canada has 34 million people, not 90 million. The population is 27 million. {L1}",
                f"Exports fell by 32 % in the last quarter. Exports fell by 45 % in the last quarter. {L2}",
                f"Exports fell by 45 %, the bank counted. In the last quarter they fell by 32 %. {L1}",
            ),
        },
    ),
    Matter(
        "El ayuntamiento de Lindow no mandó a nadie y 90 personas perdieron su casa.",
        (
            f"El ayuntamiento envió a 31 bomberos al incendio de Lindow el 4 de mayo de 2021. {L2}",
            f"Según el informe del condado, 12 personas perdieron su casa en Lindow, no 90. La causa sigue bajo investigación. {L1}",
        ),
        (
            f"El ayuntamiento envió a 31 bomberos al incendio de Lindow el 4 de mayo de 2021. {L2}",
            f"12 personas perdieron su casa en Lindow, no 90, según el informe del condado. {L1}",
            f"Es falso que no se mandara a nadie: el ayuntamiento envió a 31 bomberos. {L2}",
        ),
        {
            "claim": (
                f"El ayuntamiento de Lindow no envió a nadie al incendio. {L2}",
                f"90 personas perdieron su casa en el incendio de Lindow. {L1}",
            ),
            "opinion": (
                f"Cualquiera que viva en Lindow sabe que 12 personas perdieron su casa. {L1}",
                f"Es una vergüenza que 12 personas perdieran su casa. {L1}",
                f"Todo el mundo sabe que 12 personas perdieron su casa. {L1}",
            ),
            "motive": (f"El ayuntamiento envió a 31 bomberos para ganar votos. {L2}",),
            "accusation": (
                f"El ayuntamiento ocultó el incendio de Lindow. {L1}",
                f"El ayuntamiento mintió sobre el incendio de Lindow. {L1}",
            ),
            "finished": (
                f"Según el informe del condado ({L1}), 12 personas perdieron su casa en Lindow y",
                f"El ayuntamiento envió a 31 bomberos al al incendio de Lindow. {L2}",
            ),
            "disputed": (f"La causa del incendio no fue un rayo. {L1}",),
        },
        "es",
    ),
    Matter(
        "Der Stadtrat von Lindow schickte niemanden, 90 Menschen verloren ihr Haus!",
        (
            f"Der Stadtrat schickte 31 Feuerwehrleute zum Brand in Lindow. {L2}",
            f"Laut Bericht verloren 12 Menschen ihr Haus in Lindow, nicht 90. Die Ursache des Brandes ist noch unklar. {L1}",
        ),
        (
            f"Der Stadtrat schickte 31 Feuerwehrleute zum Brand in Lindow. {L2}",
            f"Laut Bericht verloren 12 Menschen ihr Haus in Lindow, nicht 90. {L1}",
            f"Die Ursache des Brandes ist noch unklar. {L1}",
        ),
        {
            "claim": (
                f"Der Stadtrat von Lindow schickte niemanden zum Brand. {L2}",
                f"90 Menschen verloren in Lindow ihr Haus. {L1}",
            ),
            "opinion": (
                f"Jeder weiß, dass 12 Menschen ihr Haus verloren. {L1}",
                f"Natürlich verloren nur 12 Menschen ihr Haus. {L1}",
            ),
            "motive": (f"Der Stadtrat schickte 31 Feuerwehrleute, um die Wähler zu täuschen. {L2}",),
            "accusation": (f"Der Stadtrat hat den Brand in Lindow vertuscht. {L1}",),
            "finished": (
                f"Laut Bericht ({L1}) verloren 12 Menschen ihr Haus in Lindow, nicht 90, weil",
                f"Der Stadtrat schickte schickte 31 Feuerwehrleute zum Brand in Lindow. {L2}",
            ),
            "disputed": (f"Die Ursache des Brandes war nicht ein Blitz. {L1}",),
        },
        "de",
    ),
    Matter(
        "This map proves that Lindow lies below the sea.",
        (
            f"Lindow lies 40 metres above the sea, says the county survey. {L1}",
            f"The editorial linked rests on a survey of 12 towns. Lindow lies above the sea. {L2}",
            f"The desert shown is in Chile, and the town of Lindow is above the sea. {L2}",
        ),
        (
            f"Lindow lies 40 metres above the sea, says the county survey. {L1}",
            f"Lindow lies above the sea. {L2}",
        ),
        {
            "lent": (
                f"The editorial linked rests on a survey of 12 towns. Lindow lies above the sea. {L2}",
                f"The desert shown is in Chile, and the town of Lindow is above the sea. {L2}",
            ),
        },
        lent=(False, True, True),
    ),
)
