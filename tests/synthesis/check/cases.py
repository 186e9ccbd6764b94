"""Invented source notes with faithful candidates, written by hand: different words, order and notation, nothing new.

`WRITTEN_WITH` were at hand while the rules were written; `HELD_OUT` were written afterwards and never used to change a rule.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    sources: tuple[str, ...]
    faithful: tuple[str, ...]
    language: str = "en"
    post: str | None = None


WRITTEN_WITH = (
    Case(
        (
            "The bridge cost 5 million dollars in 2019, not 50 million. Senator Mara Hale told the Harbor Times on 3 March 2022 that the tunnel cost 7 million. https://harbor.example/bridge",
            "City records of Dorn put the price of the bridge at $5 million. https://dorn.example/records/88",
        ),
        (
            "The bridge cost $5 million in 2019. https://harbor.example/bridge",
            "Records of Dorn put the bridge at 5 million dollars. https://dorn.example/records/88",
            "On March 3, 2022 Mara Hale told the Harbor Times that the tunnel cost $7 million. https://harbor.example/bridge",
        ),
        post="The bridge in Dorn cost 50 million!",
    ),
    Case(
        (
            "This photo was taken in Lisbon on 12 June 2016 by Inês Duarte. It has no connection to the protest in Oslo. https://photos.example/duarte/2016",
            'The picture first appeared in the Lisbon Courier in 2016, under the headline "Summer rain". https://courier.example/summer-rain',
        ),
        (
            "Inês Duarte took this photo in Lisbon on June 12, 2016. https://photos.example/duarte/2016",
            "The photo is from 2016 and has no connection to the protest in Oslo. https://photos.example/duarte/2016",
            'The Lisbon Courier printed the picture in 2016 under the headline "Summer rain". https://courier.example/summer-rain',
        ),
    ),
    Case(
        (
            "The agency counted 3,021 cases in 2021 and 2,870 in 2022, a fall of 5 percent. https://agency.example/table-4",
            "Numbers in the post mix confirmed and suspected cases, says the Veldmark Institute. https://veldmark.example/faq",
        ),
        (
            "The agency counted 3021 cases in 2021 and 2870 in 2022. https://agency.example/table-4",
            "Cases fell by 5% between 2021 and 2022, according to the agency. https://agency.example/table-4",
            "The Veldmark Institute says that the post mixes confirmed and suspected cases. https://veldmark.example/faq",
            "About 3,000 cases were counted in 2021. https://agency.example/table-4",
        ),
    ),
    Case(
        (
            "El vídeo no es de Quito. Fue grabado en Montevideo el 4 de mayo de 2018 durante un simulacro con 120 bomberos. https://simulacro.example/2018",
            "La alcaldesa Rocío Benavente confirmó que se trataba de un simulacro. https://alcaldia.example/nota/12",
        ),
        (
            "El vídeo fue grabado en Montevideo el 4 de mayo de 2018. https://simulacro.example/2018",
            "Según la alcaldesa Rocío Benavente, se trataba de un simulacro. https://alcaldia.example/nota/12",
        ),
        language="es",
    ),
    Case(
        (
            "Das Zitat stammt nicht von Klara Voss. Es steht in einem Roman von Emil Tannert aus dem Jahr 1987. https://roman.example/tannert",
            "Voss sprach am 3. Oktober 2020 in Bremen über Steuern, nicht über Renten. https://rede.example/voss",
        ),
        (
            "Das Zitat steht in einem Roman von Emil Tannert aus dem Jahr 1987. https://roman.example/tannert",
            "Am 3. Oktober 2020 sprach Voss in Bremen über Steuern. https://rede.example/voss",
        ),
        language="de",
    ),
)

HELD_OUT = (
    Case(
        (
            "The recall covers 14,200 blenders sold between 8 January and 30 April 2024, says maker Korvane. No injuries were reported. https://korvane.example/recall",
            "Retailer Pinemart stopped selling the blenders on 2 May 2024 and refunds 39 euros. https://pinemart.example/news/71",
        ),
        (
            "Korvane recalled 14,200 blenders sold between January 8 and April 30, 2024. https://korvane.example/recall",
            "No injuries were reported, says maker Korvane. https://korvane.example/recall",
            "Pinemart refunds 39 euros and stopped selling the blenders on May 2, 2024. https://pinemart.example/news/71",
        ),
    ),
    Case(
        (
            "The stadium in Halden seats 22,500, the one in Marrow Bay 61,000. The picture shows Marrow Bay. https://stadiums.example/list",
            "The match on 19 August 2023 between Halden and Tovik drew 18,340 people. https://league.example/2023/19",
        ),
        (
            "The stadium in Halden has 22,500 seats. https://stadiums.example/list",
            "The picture shows the stadium in Marrow Bay, which seats 61,000. https://stadiums.example/list",
            "18,340 people came to the match between Halden and Tovik on August 19, 2023. https://league.example/2023/19",
        ),
    ),
    Case(
        (
            "Judge Aldous Fenn dismissed the suit on 7 February 2025 because it was filed late. He did not rule on the claim itself. https://court.example/fenn/207",
            "The Tarn County clerk lists the case as closed; an appeal was filed by Orla Pike on 21 February 2025. https://clerk.example/tarn/207",
        ),
        (
            "Aldous Fenn dismissed the suit on February 7, 2025 because it was filed late. https://court.example/fenn/207",
            "The judge did not rule on the claim itself. https://court.example/fenn/207",
            "Orla Pike filed an appeal on February 21, 2025. https://clerk.example/tarn/207",
        ),
    ),
    Case(
        (
            "Vaccination in Brennick rose from 61 percent in 2019 to 74 percent in 2023. https://health.example/brennick",
            "Deaths fell from 412 to 305 in the same years, the Osterly Register shows. https://register.example/osterly",
        ),
        (
            "In Brennick vaccination rose from 61% in 2019 to 74% in 2023. https://health.example/brennick",
            "The Osterly Register shows that deaths fell from 412 to 305. https://register.example/osterly",
        ),
    ),
    Case(
        (
            "La loi a été votée le 9 juillet 2020 par 312 voix contre 201, pas par décret. https://assemblee.example/vote/312",
            "Le ministre Armand Delcourt l'a signée à Nantes. https://ministere.example/delcourt",
        ),
        (
            "La loi a été votée le 9 juillet 2020 par 312 voix contre 201. https://assemblee.example/vote/312",
            "Armand Delcourt l'a signée à Nantes. https://ministere.example/delcourt",
        ),
        language="fr",
    ),
    Case(
        (
            "The satellite Pelorus 3 was launched from Kessel Point on 11 November 2022 and weighs 840 kg. https://orbit.example/pelorus",
            "Pelorus 3 belongs to the Anwick Observatory; the army of Sundera has no share in it. https://anwick.example/faq",
        ),
        (
            "Pelorus 3 weighs 840 kg and was launched from Kessel Point on November 11, 2022. https://orbit.example/pelorus",
            "The satellite belongs to the Anwick Observatory, and the army of Sundera has no share in it. https://anwick.example/faq",
        ),
    ),
)
