"""The labelers' pages."""

from django.urls import path, re_path

from labeling import views

app_name = "labeling"
urlpatterns = [
    path("label/", views.home, name="home"),
    path("label/<int:pk>/", views.label, name="label"),
    path("label/<int:pk>/previous/", views.previous, name="previous"),
    path("label/<int:pk>/instructions/", views.instructions, name="instructions"),
    path("label/pages/<int:pk>/submit/", views.submit_page, name="submit"),
    path("label/pages/<int:pk>/correct/", views.correct_page, name="correct"),
    path("label/pages/<int:pk>/renew/", views.renew, name="renew"),
    path("label/pages/<int:pk>/release/", views.release, name="release"),
    path("label/pages/<int:pk>/layout/", views.layout, name="layout"),
    re_path(r"^images/(?P<pk>\d{1,18})/(?P<size>512|2048|full)/$", views.preview, name="preview"),
    path("", views.root, name="root"),
]
